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
from kit.images.errors import AGAIN, HostileLayer, LayerCorrupt

BLOCK = tarfile.BLOCKSIZE
NOBODY = (1 << 32) - 1  # to chown(2) this number means: leave it
MAX_RECORDS = 1 << 20  # bytes of PAX records or of a long name that one member may have
XATTR = "SCHILY.xattr."  # before an extended attribute's name, in a PAX record
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
_LONG = {tarfile.GNUTYPE_LONGNAME: "path", tarfile.GNUTYPE_LONGLINK: "linkpath"}  # GNU's way, and PAX's


@dataclass(frozen=True)
class Limits:
    """How much an archive may hold: ``size`` in bytes, unpacked, and the number of ``entries``."""

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
    """A stream of tar bytes. ``digest()`` is of all of it, which is the diff id once the walk has ended.

    With ``open_end`` it may lack the zeros after the last member's content, as the docker command's may.
    """

    def __init__(self, stream: BinaryIO, limits: Limits = LIMITS, open_end: bool = False) -> None:
        self.stream, self.limits, self.open_end = stream, limits, open_end
        self.size = 0
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
            raise _too_much(f"it unpacks to more than {self.limits.size} bytes", "size")
        return data

    def _exactly(self, size: int, last: bool = False) -> bytes:
        data = self._read(size)
        if len(data) < size and not (last and self.open_end):
            raise LayerCorrupt("the tar archive ends early", remedy=AGAIN)
        return data

    def content(self) -> Iterator[bytes]:
        """The content of the member that :meth:`members` came to last, in pieces."""
        while self._left:
            data = self._exactly(min(self._left, CHUNK))
            self._left -= len(data)
            yield data

    def _extension(self, size: int) -> bytes:
        if not 0 <= size <= MAX_RECORDS:
            raise HostileLayer(f"a name or PAX records of {size} bytes; at most {MAX_RECORDS} are taken")
        return self._exactly(size + -size % BLOCK)[:size]

    def members(self) -> Iterator[Member]:
        """Every member in turn; content that was not read meanwhile is passed over.

        Raises LayerCorrupt where the archive is cut short, damaged or goes on after its end, HostileLayer
        where it is over the limits.
        """
        entries = 0
        records: dict[str, bytes] = {}  # what stands before a member and belongs to it
        long: dict[str, bytes] = {}
        while (block := self._exactly(BLOCK, last=True)).strip(b"\0"):
            try:
                info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
            except tarfile.HeaderError as error:
                what = f"no tar archive, or a damaged one: {error} at byte {self.size - BLOCK}"
                raise LayerCorrupt(what, remedy=AGAIN) from None
            if info.type == tarfile.XHDTYPE:
                records = pax_records(self._extension(info.size))
            elif info.type == tarfile.XGLTYPE:
                if others := pax_records(self._extension(info.size)).keys() - {"comment"}:
                    raise LayerCorrupt(f"PAX records for all members ({', '.join(others)}) are not taken")
            elif info.type in _LONG:
                long[_LONG[info.type]] = self._extension(info.size).rstrip(b"\0")
            else:
                member = _member(info, long | records)
                entries += 1
                if entries > self.limits.entries:
                    raise _too_much(f"it has more than {self.limits.entries} entries", "entries")
                self._left = member.size
                yield member
                for _ in self.content():
                    pass
                self._exactly(-member.size % BLOCK, last=True)
                records, long = {}, {}
        while data := self._read(CHUNK):
            if data.strip(b"\0"):
                raise LayerCorrupt("bytes follow the end of the tar archive", remedy=AGAIN)


def _too_much(what: str, limit: str) -> HostileLayer:
    return HostileLayer(what, remedy=f"If you trust its maker, allow more with Limits({limit}=...).")


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
            raise LayerCorrupt(f"no PAX record: {data[:40]!r}", remedy=AGAIN)
        records[_text(key)] = value[:-1]
        data = data[length:]
    return records


def _number(records: dict[str, bytes], key: str, default: int) -> int:
    if key not in records:
        return default
    if not records[key].isdigit() or len(records[key]) > 20:
        raise LayerCorrupt(f"PAX record {key} is no number: {records[key][:40]!r}", remedy=AGAIN)
    return int(records[key])


def _nanoseconds(value: bytes) -> int:
    if not (parts := re.fullmatch(rb"(-?)(\d{1,12})(?:\.(\d*))?", value)):
        raise LayerCorrupt(f"PAX record mtime is no time: {value[:40]!r}", remedy=AGAIN)
    sign, seconds, fraction = parts.groups(b"")
    return (-1 if sign else 1) * int(seconds + fraction[:9].ljust(9, b"0"))


def _member(info: tarfile.TarInfo, records: dict[str, bytes]) -> Member:
    """A header's member; what the ``records`` say goes before what it says itself."""
    name = _text(records["path"]) if "path" in records else info.name
    target = _text(records["linkpath"]) if "linkpath" in records else info.linkname
    kind = _KINDS.get(info.type)
    if kind is None or any(key.startswith("GNU.sparse.") for key in records):
        what = f"a member of type {info.type!r} (sparse, or of one maker only) has no place in a layer"
        raise LayerCorrupt(what, name)
    size = _number(records, "size", info.size)
    uid, gid = _number(records, "uid", info.uid), _number(records, "gid", info.gid)
    if size < 0 or not (0 <= uid < NOBODY and 0 <= gid < NOBODY):
        raise LayerCorrupt(f"size {size}, owner {uid}:{gid}: not numbers that the kernel has", name, AGAIN)
    if kind != "file":
        size = 0
    time = _nanoseconds(records["mtime"]) if "mtime" in records else int(info.mtime) * 1_000_000_000
    xattrs = {key.removeprefix(XATTR): value for key, value in records.items() if key.startswith(XATTR)}
    device = info.devmajor, info.devminor
    return Member(name, kind, info.mode & 0o7777, uid, gid, size, time, target, device, xattrs)
