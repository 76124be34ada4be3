"""Unpacking a layer that may be hostile: whatever it holds, nothing is touched outside of the directory.

Every path is looked up by the kernel with the directory as its root (openat2(2), RESOLVE_IN_ROOT), and what
is made gets made by descriptor in the directory found so: a symbolic link in the layer leads where it would
lead in a container. Nothing is ever written through a name: what stands there is removed first, so that
neither a link nor a second name of a file carries a write elsewhere. See the OCI image-spec's layer.md.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from kit.images.beneath import OPEN_DIRECTORY, Beneath, Identity, identity, split
from kit.images.compression import decompressed
from kit.images.directory import OVERLAY, WHITEOUT
from kit.images.errors import HostileLayer, ImageError, LayerCorrupt
from kit.images.tar import LIMITS, Limits, Member, Tar
from kit.images.whiteouts import Whiteouts, is_whiteout, make_opaque
from kit.linux.errors import KernelError

Form = Literal["overlay", "flat"]

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_LATEST = (1 << 40) * 1_000_000_000  # nanoseconds: later than any file system's last day
_ITS_DOING = {
    *(errno.EEXIST, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG),
    *(errno.EINVAL, errno.EXDEV, errno.EMLINK),
}


@dataclass(frozen=True)
class Unpacked:
    """What was unpacked: the tar's digest, its size in bytes, and how many entries it had."""

    diff_id: str
    size: int
    entries: int


def unpack(
    stream: BinaryIO,
    directory: Path,
    *,
    form: Form,
    allow_devices: bool = False,
    limits: Limits = LIMITS,
    diff_id: str | None = None,
    below: Sequence[Path] = (),
) -> Unpacked:
    """Unpack the layer in ``stream`` (tar, gzip or zstd, told by its first bytes) into ``directory``.

    ``form`` "overlay": the directory is for this layer alone, and whiteouts become what the overlay file
    system has for them; ``below`` are the directories of the layers under it, topmost first. "flat": the
    directory holds the layers below, and whiteouts remove. Owners are set as root only; setuid bits, setgid
    bits and capabilities are kept only together with the owner.

    Raises HostileLayer, LayerCorrupt (damaged, or not of ``diff_id``), ImageError (the file system refuses).
    The directory then holds a part of the layer: remove it.
    """
    tar = Tar(decompressed(stream), limits)
    beneath = Beneath(directory, below)
    try:
        unpacker = _Unpacker(tar, beneath, form == "overlay", allow_devices)
        for member in tar.members():
            unpacker.add(member)
        unpacker.finish()
    finally:
        beneath.close()
    if diff_id not in (None, tar.digest()):
        raise LayerCorrupt(
            f"the layer's diff id is {tar.digest()}, and {diff_id} was promised",
            remedy="The image was put together wrongly, or changed: fetch it again.",
        )
    return Unpacked(tar.digest(), tar.size, tar.entries)


class _Unpacker:
    """Makes one member after the other, and finishes the directories when nothing more comes into them."""

    def __init__(self, tar: Tar, beneath: Beneath, overlay: bool, allow_devices: bool) -> None:
        self.tar, self.beneath, self.allow_devices = tar, beneath, allow_devices
        self.whiteouts = Whiteouts(beneath, overlay)
        self.own = os.geteuid() == 0
        self.directories: dict[Identity, tuple[str, Member]] = {}

    def add(self, member: Member) -> None:
        """Make one member."""
        parts = split(member.name, "the name")
        if abs(member.mtime_ns) > _LATEST:
            raise HostileLayer("a time that no file system has", member.name)
        try:
            self._add(parts, member)
        except OSError as error:
            if isinstance(error, ImageError):
                raise
            raise _refused(member, error) from error

    def _add(self, parts: list[str], member: Member) -> None:
        if not parts:
            if member.kind != "directory":
                raise HostileLayer(f"the layer's root is a {member.kind}", member.name)
            self._adopt(self.beneath.root, "", member)
            return
        self.beneath.enter(parts[:-1])
        if any(part.startswith(WHITEOUT) for part in parts):
            self.whiteouts.apply(parts, member)
            return
        if member.kind == "file":
            self._file(parts[-1], member)
        elif member.kind == "directory":
            self._directory(parts[-1], member)
        elif member.kind == "hardlink":
            self._hard_link(parts[-1], member)
        else:
            self._node(parts[-1], member)
        self.beneath.note(parts[-1])

    def finish(self) -> None:
        """Give the directories their modes and times: until now each was open for its owner alone."""
        deepest_first = sorted(self.directories.items(), key=lambda one: -one[1][0].count("/"))
        for known, (path, member) in deepest_first:
            try:
                fd = self.beneath.open(path, OPEN_DIRECTORY)
            except KernelError as error:
                if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):  # the layer removed it again
                    continue
                raise _refused(member, error) from error
            try:
                if identity(fd) == known:
                    os.fchmod(fd, self._mode(member))
                    self._attributes(fd, member)  # not before: what is made in it would inherit its ACL
                    os.utime(fd, ns=(member.mtime_ns, member.mtime_ns))
            except OSError as error:
                raise _refused(member, error) from error
            finally:
                os.close(fd)

    def _mode(self, member: Member) -> int:
        return (
            member.mode if self.own else member.mode & 0o1777
        )  # setuid is only for the owner it was meant for

    def _attributes(self, file: int | str, member: Member) -> None:
        for key, value in member.xattrs.items():
            if key.startswith(OVERLAY):
                raise HostileLayer(f"the attribute {key} would steer the overlay file system", member.name)
            if key == "security.selinux" or not (self.own or key.startswith("user.")):
                continue  # the label is the host's to give; the others go with the owner
            os.setxattr(file, key, value, follow_symlinks=isinstance(file, int))

    def _adopt(self, fd: int, path: str, member: Member) -> None:
        if self.own:
            os.fchown(fd, member.uid, member.gid)
        self.directories[identity(fd)] = (path, member)

    def _directory(self, name: str, member: Member) -> None:
        here = self.beneath
        try:
            os.mkdir(name, 0o700, dir_fd=here.parent)
        except FileExistsError:
            if not here.is_directory(name):
                here.anew(name, lambda: os.mkdir(name, 0o700, dir_fd=here.parent))
        fd = os.open(name, OPEN_DIRECTORY, dir_fd=here.parent)
        try:
            if self.whiteouts.hides(name):
                make_opaque(fd)
            self._adopt(fd, f"{here.path}/{name}" if here.path else name, member)
        finally:
            os.close(fd)

    def _file(self, name: str, member: Member) -> None:
        fd = self.beneath.anew(name, lambda: os.open(name, _NEW_FILE, 0o600, dir_fd=self.beneath.parent))
        try:
            for data in self.tar.content():
                _write(fd, data)
            if self.own:
                os.fchown(fd, member.uid, member.gid)
            os.fchmod(fd, self._mode(member))  # after the owner, whose change takes setuid away
            self._attributes(fd, member)
            os.utime(fd, ns=(member.mtime_ns, member.mtime_ns))
        finally:
            os.close(fd)

    def _hard_link(self, name: str, member: Member) -> None:
        *above, target = split(member.target, "the hard link's target") or ["."]
        parent = self.beneath.parent
        source = self.beneath.open("/".join(above))
        try:
            if is_whiteout(target, source):
                raise HostileLayer(f"a hard link to {member.target!r}, which is removed", member.name)
            self.beneath.anew(
                name,
                lambda: os.link(target, name, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False),
            )
        finally:
            os.close(source)

    def _node(self, name: str, member: Member) -> None:
        parent = self.beneath.parent
        if member.kind == "symlink":
            if "\0" in member.target:
                raise HostileLayer("a link to a name with a zero byte", member.name)
            self.beneath.anew(name, lambda: os.symlink(member.target, name, dir_fd=parent))
        else:
            kind, device = self._device(member)
            self.beneath.anew(name, lambda: os.mknod(name, kind | 0o600, device, dir_fd=parent))
        if self.own:
            os.chown(name, member.uid, member.gid, dir_fd=parent, follow_symlinks=False)
        if member.kind != "symlink":
            os.chmod(name, member.mode & 0o1777, dir_fd=parent)
        if member.xattrs:
            self._attributes(f"/proc/self/fd/{parent}/{name}", member)
        times = (member.mtime_ns, member.mtime_ns)
        os.utime(name, ns=times, dir_fd=parent, follow_symlinks=False)

    def _device(self, member: Member) -> tuple[int, int]:
        if member.kind == "fifo":
            return stat.S_IFIFO, 0
        major, minor = member.device
        if not self.allow_devices:
            raise HostileLayer(
                f"a {member.kind} device {major}:{minor}, which is a door to the host's hardware",
                member.name,
                "A container gets its devices from the engine; only a layer you trust may bring its own.",
            )
        if not (0 <= major < 1 << 12 and 0 <= minor < 1 << 20) or major == minor == 0:
            raise HostileLayer(f"there is no device {major}:{minor}", member.name)
        return (stat.S_IFCHR if member.kind == "char" else stat.S_IFBLK), os.makedev(major, minor)


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _refused(member: Member, error: OSError) -> ImageError:
    """The kernel's answer to one member: the layer's doing, or else the file system's or a missing right."""
    if member.kind == "hardlink" and error.errno in (errno.ENOENT, errno.EPERM):
        why = "is not there" if error.errno == errno.ENOENT else "is a directory"
        return HostileLayer(f"a hard link to {member.target!r}, which {why}", member.name)
    what = f"the {member.kind} can't be made: {errno.errorcode.get(error.errno or 0)} ({error.strerror})"
    if error.errno in _ITS_DOING:
        return HostileLayer(what, member.name, "A name, or a link on the way to it, is one that can't be.")
    remedy = error.remedy if isinstance(error, KernelError) else ""
    return ImageError(
        what, member.name, remedy or "See whether there is space, and the right to do it there."
    )
