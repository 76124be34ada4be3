"""Reading a tar archive as a stream, member by member, and trusting nothing in it. See tar(5), pax(1).

:mod:`tarfile` decodes each 512-byte header; the walk from header to header is here, because a layer must be
read to its very end, refused where it is cut short or goes on after its end, and never held in memory.
"""

from __future__ import annotations

import hashlib
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from kit.images.compression import CHUNK
from kit.images.entry import Kind
from kit.images.errors import HostileLayer, LayerCorrupt

BLOCK = tarfile.BLOCKSIZE
NOBODY = (1 << 32) - 1  # to chown(2) this number means: leave it
MAX_RECORDS = 1 << 20  # bytes of PAX records or of a long name that one member may have
XATTR = "SCHILY.xattr."  # before an extended attribute's name, in a PAX record
_AGAIN = "Fetch the layer again, or have it built again."
TYPES: dict[Kind, bytes] = {
    "file": tarfile.REGTYPE,
    "directory": tarfile.DIRTYPE,
    "symlink": tarfile.SYMTYPE,
    "hardlink": tarfile.LNKTYPE,
    "char": tarfile.CHRTYPE,
    "block": tarfile.BLKTYPE,
    "fifo": tarfile.FIFOTYPE,
}
_KINDS = {code: kind for kind, code in TYPES.items()} | {tarfile.AREGTYPE: "file", tarfile.CONTTYPE: "file"}


@dataclass(frozen=True)
class Limits:
    """How much a layer may hold: ``size`` in bytes, unpacked, and the number of ``entries``."""

    size: int = 32 << 30
    entries: int = 1_000_000


LIMITS = Limits()


@dataclass(frozen=True)
class Member:
    """One member, its name and target as the archive has them, unchecked. ``mtime_ns`` is in nanoseconds."""

    name: str
    kind: Kind
    mode: int
    uid: int
    gid: int
    size: int
    mtime_ns: int
    target: str
    device: tuple[int, int]
    xattrs: dict[str, bytes] = field(default_factory=dict)


class Tar:
    """A stream of tar bytes. ``digest()`` is of all of it, which is the diff id once the walk has ended."""

    def __init__(self, stream: BinaryIO, limits: Limits = LIMITS) -> None:
        self.stream, self.limits = stream, limits
        self.size = self.entries = 0
        self._left = 0  # bytes of the present member's content that were not read yet
        self._hash = hashlib.sha256()

    def digest(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"

    def _read(self, size: int) -> bytes:
        """So many bytes, fewer only at the end of the stream."""
        data = self.stream.read(size)
        self._hash.update(data)
        self.size += len(data)
        if self.size > self.limits.size:
            what = f"the layer unpacks to more than {self.limits.size} bytes"
            raise HostileLayer(what, remedy="If you trust its maker, allow more with Limits(size=...).")
        return data

    def _exactly(self, size: int) -> bytes:
        data = self._read(size)
        if len(data) < size:
            raise LayerCorrupt("the tar archive ends early", remedy=_AGAIN)
        return data

    def content(self) -> Iterator[bytes]:
        """The content of the member that :meth:`members` came to last, in pieces."""
        while self._left:
            data = self._exactly(min(self._left, CHUNK))
            self._left -= len(data)
            yield data

    def _records(self, size: int, what: str) -> bytes:
        if size > MAX_RECORDS:
            raise HostileLayer(f"{what} of {size} bytes; at most {MAX_RECORDS} are taken")
        return self._exactly(size + -size % BLOCK)[:size]

    def members(self) -> Iterator[Member]:
        """Every member in turn; content that was not read meanwhile is passed over.

        Raises LayerCorrupt where the archive is cut short, damaged or goes on after its end, HostileLayer
        where it is over the limits.
        """
        own: dict[str, bytes] = {}
        long: dict[bytes, str] = {}
        while (block := self._exactly(BLOCK)).strip(b"\0"):
            try:
                info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
            except tarfile.HeaderError as error:
                raise LayerCorrupt(f"no tar header where one must be: {error}", remedy=_AGAIN) from None
            if info.type == tarfile.XHDTYPE:
                own = pax_records(self._records(info.size, "PAX records"))
            elif info.type == tarfile.XGLTYPE:
                if others := pax_records(self._records(info.size, "PAX records")).keys() - {"comment"}:
                    others_named = ", ".join(sorted(others))
                    raise LayerCorrupt(f"PAX records for all members ({others_named}) are not taken")
            elif info.type in (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK):
                long[info.type] = _text(self._records(info.size, "a long name").rstrip(b"\0"))
            else:
                member = _member(info, own, long)
                self.entries += 1
                if self.entries > self.limits.entries:
                    what = f"the layer has more than {self.limits.entries} entries"
                    remedy = "If you trust its maker, allow more with Limits(entries=...)."
                    raise HostileLayer(what, remedy=remedy)
                self._left = member.size
                yield member
                for _ in self.content():
                    pass
                self._exactly(-member.size % BLOCK)
                own, long = {}, {}
        while data := self._read(CHUNK):
            if data.strip(b"\0"):
                raise LayerCorrupt("bytes follow the end of the tar archive", remedy=_AGAIN)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def pax_records(data: bytes) -> dict[str, bytes]:
    """The "LENGTH KEY=VALUE\\n" records of a PAX header, see pax(1). Raises LayerCorrupt."""
    records = {}
    while data:
        digits, space, _ = data[:20].partition(b" ")
        length = int(digits) if space and digits.isdigit() else 0
        key, equals, value = data[len(digits) + 1 : length].partition(b"=")
        if not (key and equals and value.endswith(b"\n") and length <= len(data)):
            raise LayerCorrupt(f"no PAX record: {data[:40]!r}", remedy=_AGAIN)
        records[_text(key)] = value[:-1]
        data = data[length:]
    return records


def _number(records: dict[str, bytes], key: str, default: int) -> int:
    if key not in records:
        return default
    if not records[key].isdigit() or len(records[key]) > 20:
        raise LayerCorrupt(f"PAX record {key} is no number: {records[key][:40]!r}", remedy=_AGAIN)
    return int(records[key])


def _nanoseconds(value: bytes) -> int:
    if not (parts := re.fullmatch(rb"(-?)(\d{1,12})(?:\.(\d*))?", value)):
        raise LayerCorrupt(f"PAX record mtime is no time: {value[:40]!r}", remedy=_AGAIN)
    sign, seconds, fraction = parts.groups(b"")
    return (-1 if sign else 1) * int(seconds + fraction[:9].ljust(9, b"0"))


def _member(info: tarfile.TarInfo, records: dict[str, bytes], long: dict[bytes, str]) -> Member:
    name = _text(records["path"]) if "path" in records else long.get(tarfile.GNUTYPE_LONGNAME, info.name)
    target = long.get(tarfile.GNUTYPE_LONGLINK, info.linkname)
    if "linkpath" in records:
        target = _text(records["linkpath"])
    kind = _KINDS.get(info.type)
    if kind is None or any(key.startswith("GNU.sparse.") for key in records):
        what = f"a member of type {info.type!r} (sparse, or of one maker only) has no place in a layer"
        raise LayerCorrupt(what, name)
    size = _number(records, "size", info.size)
    uid, gid = _number(records, "uid", info.uid), _number(records, "gid", info.gid)
    if size < 0 or not (0 <= uid < NOBODY and 0 <= gid < NOBODY):
        raise LayerCorrupt(f"size {size}, owner {uid}:{gid}: not numbers that the kernel has", name, _AGAIN)
    if kind != "file":
        size = 0
    time = _nanoseconds(records["mtime"]) if "mtime" in records else int(info.mtime) * 1_000_000_000
    xattrs = {key.removeprefix(XATTR): value for key, value in records.items() if key.startswith(XATTR)}
    device = info.devmajor, info.devminor
    return Member(name, kind, info.mode & 0o7777, uid, gid, size, time, target, device, xattrs)
