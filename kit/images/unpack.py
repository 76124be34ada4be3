"""Unpacking a layer that may be hostile: whatever it holds, nothing is touched outside of the directory.

The kernel looks every path up with the directory as its root (openat2(2), RESOLVE_IN_ROOT), so that a
symbolic link in the layer leads where it would in a container. What stands where something is to be made is
removed first: neither a link nor a second name of a file carries a write elsewhere. See the OCI image-spec's
layer.md.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import BinaryIO

from kit.images.beneath import OPEN_DIRECTORY, Beneath, split
from kit.images.blob import write_all
from kit.images.compression import decompressed
from kit.images.directory import FORMATS
from kit.images.errors import AGAIN, HostileLayer, ImageError, LayerCorrupt
from kit.images.tar import LIMITS, Limits, Member, Tar
from kit.images.whiteouts import OVERLAY, WHITEOUT, apply_whiteout, is_whiteout, make_opaque
from kit.linux.errors import KernelError
from kit.linux.remove import remove

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_LATEST = (1 << 40) * 1_000_000_000  # nanoseconds: later than any file system's last day
_ITS_DOING = {
    *(errno.EEXIST, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG),
    *(errno.EINVAL, errno.EXDEV, errno.EMLINK),
}


def unpack(
    stream: BinaryIO,
    directory: Path,
    *,
    diff_id: str | None = None,
    below: Sequence[Path] = (),
    allow_devices: bool = False,
    limits: Limits = LIMITS,
    plain: bool = False,
    owner: tuple[int, int] | None = None,
) -> str:
    """Unpack the layer in ``stream`` (tar, gzip or zstd) into ``directory``; its diff id.

    The directory is for this layer alone, and becomes one of an overlay's, with whiteouts as that has them.
    ``below`` are the directories of the layers under it, topmost first. Owners are set as root only; setuid
    bits, setgid bits and capabilities are kept only together with the owner.

    ``plain`` is for an archive that is no layer: it has no whiteouts, perhaps no zeros at its end, and no
    directory takes the place of what is none, nor the other way. ``owner`` (user, group) gets all of it.

    Raises HostileLayer, LayerCorrupt (damaged, or not of ``diff_id``), ImageError (the file system refuses).
    The directory then holds a part of the layer: remove it.
    """
    tar = Tar(decompressed(stream), limits, open_end=plain)
    with closing(Beneath(directory, below)) as beneath:
        unpacker = _Unpacker(tar, beneath, allow_devices, plain, owner)
        for member in tar.members():
            with _speaking_of(member):
                unpacker.add(member)
        unpacker.finish()
    if diff_id not in (None, tar.digest()):
        raise LayerCorrupt(f"the layer's diff id is {tar.digest()}, and {diff_id} was promised", remedy=AGAIN)
    return tar.digest()


class _Unpacker:
    """Makes one member after the other, and finishes the directories when nothing more comes into them."""

    def __init__(
        self, tar: Tar, beneath: Beneath, allow_devices: bool, plain: bool, owner: tuple[int, int] | None
    ) -> None:
        self.tar, self.beneath, self.allow_devices = tar, beneath, allow_devices
        self.plain, self.owner = plain, owner
        self.own = os.geteuid() == 0
        self.directories: dict[tuple[int, int], tuple[list[str], Member]] = {}

    def add(self, member: Member) -> None:
        parts = split(member.name, "the name")
        if abs(member.mtime_ns) > _LATEST:
            raise HostileLayer("a time that no file system has", member.name)
        if not parts:
            if member.kind != "directory":
                raise HostileLayer(f"the layer's root is a {member.kind}", member.name)
            self.directories[_identity(os.fstat(self.beneath.root))] = parts, member
            return
        self.beneath.enter(parts[:-1])
        if self.plain:
            self._check_kind(parts[-1], member)
        elif any(part.startswith(WHITEOUT) for part in parts):
            return apply_whiteout(parts, member.kind, self.beneath.parent)
        if member.kind == "directory":
            self._directory(parts, member)
        elif member.kind == "file":
            self._file(parts[-1], member)
        elif member.kind == "hardlink":
            self._hard_link(parts[-1], member)
        else:
            self._node(parts[-1], member)

    def _check_kind(self, name: str, member: Member) -> None:
        try:
            mode = os.stat(name, dir_fd=self.beneath.parent, follow_symlinks=False).st_mode
        except FileNotFoundError:
            return
        if stat.S_ISDIR(mode) != (member.kind == "directory"):
            there = "a directory" if stat.S_ISDIR(mode) else "no directory"
            raise ImageError(f"a {member.kind} can't take the place of what is {there}", member.name)

    def finish(self) -> None:
        """Settle the directories, the deepest first: until now each was open for its owner alone."""
        deepest_first = sorted(self.directories.items(), key=lambda one: -len(one[1][0]))
        for known, (parts, member) in deepest_first:
            with _speaking_of(member):
                try:
                    fd = self.beneath.open("/".join(parts), OPEN_DIRECTORY)
                except KernelError as error:
                    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                        continue  # something else took its place
                    raise
                try:
                    if _identity(os.fstat(fd)) == known:
                        self._settle(fd, member)  # not before: what is made in it would inherit its ACL
                finally:
                    os.close(fd)

    def _settle(self, file: int | str, member: Member) -> None:
        """Set owner, mode, attributes and time, in the order in which one does not undo another."""
        follow = isinstance(file, int)
        mode = member.mode & 0o1777  # setuid and setgid are only for the owner that they were meant for
        if self.own:
            os.chown(file, *(self.owner or (member.uid, member.gid)), follow_symlinks=follow)
            mode = member.mode if member.kind in ("file", "directory") else mode
        if member.kind != "symlink":
            os.chmod(file, mode)
        for key, value in member.xattrs.items():
            if key.startswith(OVERLAY):
                raise HostileLayer(f"the attribute {key} would steer the overlay file system", member.name)
            if key == "security.selinux" or not (self.own or key.startswith("user.")):
                continue  # the label is the host's to give; the others go with the owner
            os.setxattr(file, key, value, follow_symlinks=follow)
        os.utime(file, ns=(member.mtime_ns, member.mtime_ns), follow_symlinks=follow)

    def _directory(self, parts: list[str], member: Member) -> None:
        parent, name = self.beneath.parent, parts[-1]
        try:
            os.mkdir(name, 0o700, dir_fd=parent)
        except FileExistsError:
            if not stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
                remove(name, parent)
                os.mkdir(name, 0o700, dir_fd=parent)
                make_opaque(name, parent)  # what was there, a whiteout or a file, hid what is below
        status = os.stat(name, dir_fd=parent, follow_symlinks=False)
        self.directories[_identity(status)] = parts, member

    def _file(self, name: str, member: Member) -> None:
        self.beneath.clear(name)
        fd = os.open(name, _NEW_FILE, 0o600, dir_fd=self.beneath.parent)
        try:
            for data in self.tar.content():
                write_all(fd, data)
            self._settle(fd, member)
        finally:
            os.close(fd)

    def _hard_link(self, name: str, member: Member) -> None:
        *above, target = split(member.target, "the hard link's target") or ["."]
        parent = self.beneath.parent
        source = self.beneath.open("/".join(above))
        try:
            if is_whiteout(target, source):
                raise HostileLayer(f"a hard link to {member.target!r}, which is removed", member.name)
            self.beneath.clear(name)
            os.link(target, name, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)
        finally:
            os.close(source)

    def _node(self, name: str, member: Member) -> None:
        parent = self.beneath.parent
        if "\0" in member.target:
            raise HostileLayer("a link to a name with a zero byte", member.name)
        device = 0 if member.kind in ("symlink", "fifo") else self._device(member)
        self.beneath.clear(name)
        if member.kind == "symlink":
            os.symlink(member.target, name, dir_fd=parent)
        else:
            os.mknod(name, FORMATS[member.kind] | 0o600, device, dir_fd=parent)
        self._settle(f"/proc/self/fd/{parent}/{name}", member)

    def _device(self, member: Member) -> int:
        major, minor = member.device
        if not self.allow_devices:
            what = f"a {member.kind} device {major}:{minor}, which is a door to the host's hardware"
            remedy = "A container gets its devices from the engine; only a layer you trust may bring its own."
            raise HostileLayer(what, member.name, remedy)
        if not (0 <= major < 1 << 12 and 0 <= minor < 1 << 20) or major == minor == 0:
            raise HostileLayer(f"there is no device {major}:{minor}", member.name)
        return os.makedev(major, minor)


def _identity(status: os.stat_result) -> tuple[int, int]:
    """What tells a file from every other, by whatever name it was found."""
    return status.st_dev, status.st_ino


@contextmanager
def _speaking_of(member: Member) -> Iterator[None]:
    """The kernel's answer to one member: the layer's doing, or else the file system's or a missing right."""
    try:
        yield
    except ImageError:
        raise
    except OSError as error:
        name = errno.errorcode.get(error.errno or 0)
        to = f" to {member.target!r:.100}" if member.target else ""
        what = f"the {member.kind}{to} can't be made: {name} ({error.strerror})"
        if error.errno in _ITS_DOING or (member.kind == "hardlink" and error.errno == errno.EPERM):
            remedy = "A name, a link's target, or a link on the way to it is one that can't be."
            raise HostileLayer(what, member.name, remedy) from error
        remedy = error.remedy if isinstance(error, KernelError) else ""
        remedy = remedy or "See whether there is space, and the right to do it there."
        raise ImageError(what, member.name, remedy) from error
