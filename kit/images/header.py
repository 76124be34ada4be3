"""The header of a tar member, byte for byte as Docker, podman and buildah write it. See tar(5) and pax(1).

So a layer that one of them packed and the kit unpacked has the same digest when the kit packs it again. They
have this form from Go's archive/tar: the mode says the file's type as well, and every member has the numbers
of a device. What a ustar header has no room for (a long name, one that is not ASCII, a large number, an
extended attribute) stands in PAX records before it.
"""

from __future__ import annotations

import struct

from kit.images.directory import FORMATS
from kit.images.entry import Entry
from kit.images.tar import BLOCK, TYPES, XATTR

_USTAR = struct.Struct("100s 8s 8s 8s 12s 12s 8s c 100s 8s 64x 8s 8s 155s 12x")
_NAME, _PREFIX = 100, 155  # bytes of these two fields
_FORMATS = FORMATS | {"hardlink": FORMATS["file"]}


def header(entry: Entry, size: int) -> bytes:
    """What stands before an entry's content of ``size`` bytes: one block, or PAX records and that."""
    path = _encoded(entry.name + "/" * (entry.kind == "directory"))
    target, prefix, before = _encoded(entry.target), b"", b""
    numbers = {"uid": (entry.uid, 8), "gid": (entry.gid, 8), "size": (size, 12), "mtime": (entry.mtime, 12)}
    records = {XATTR + key: value for key, value in entry.xattrs.items()}
    records |= {
        key: text
        for key, text in (("path", path), ("linkpath", target))
        if len(text) > _NAME or not text.isascii()
    }
    records |= {key: b"%d" % number for key, (number, width) in numbers.items() if not _fits(number, width)}
    if [*records] == ["path"] and (cut := _cut(path)):
        prefix, path = path[:cut], path[cut + 1 :]
    elif records:
        before = _pax(path, records)
    major, minor = entry.device or (0, 0)
    return before + _block(
        path, TYPES[entry.kind], entry.mode | _FORMATS[entry.kind], entry.uid, entry.gid, size, entry.mtime,
        target, _octal(major, 8), _octal(minor, 8), prefix,
    )  # fmt: skip


def _block(
    path: bytes, kind: bytes, mode: int, uid: int, gid: int, size: int, mtime: int,
    target: bytes = b"", major: bytes = b"", minor: bytes = b"", prefix: bytes = b"",
) -> bytes:  # fmt: skip
    numbers = (_octal(mode, 8), _octal(uid, 8), _octal(gid, 8), _octal(size, 12), _octal(mtime, 12))
    rest = (kind, _short(target), b"ustar\x0000", major, minor, prefix)
    block = bytearray(_USTAR.pack(_short(path), *numbers, b" " * 8, *rest))
    block[148:155] = _octal(sum(block), 7)  # the checksum, summed up with spaces in its place
    return bytes(block)


def _pax(path: bytes, records: dict[str, bytes]) -> bytes:
    """A member of its own with a line "LENGTH KEY=VALUE" for each record; its length counts itself."""
    data = b""
    for key, value in sorted(records.items()):
        line = b" %s=%s\n" % (_encoded(key), value)
        length = len(line) + len(str(len(line)))
        data += b"%d%s" % (len(line) + len(str(length)), line)
    directory, slash, name = path.rpartition(b"/")
    place = _short(directory + slash + b"PaxHeaders.0/" + name).rstrip(b"/")
    return _block(place, b"x", 0, 0, 0, len(data), 0) + data + b"\0" * (-len(data) % BLOCK)


def _cut(path: bytes) -> int:
    """Where ustar cuts a long path in two, at a slash and as late as it can; 0 where it can't."""
    cut = path.rfind(b"/", 0, min(len(path) - 1, _PREFIX + 1))
    return cut if path.isascii() and cut > 0 and len(path) - cut - 1 <= _NAME else 0


def _short(text: bytes) -> bytes:
    """As much of it as the field takes, when a record has it all."""
    text = text if text.isascii() else bytes(one for one in text if one < 128)
    return text if len(text) <= _NAME else text[:_NAME].rstrip(b"/")


def _fits(number: int, width: int) -> bool:
    return bool(0 <= number < 8 ** (width - 1))


def _octal(number: int, width: int) -> bytes:
    """Octal digits and a zero byte; 0 for a number that a record has."""
    return b"%0*o\0" % (width - 1, number if _fits(number, width) else 0)


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
