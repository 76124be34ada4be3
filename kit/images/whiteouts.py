"""How a layer says that something is gone: whiteouts and opaque directories.

In a layer they are files with certain names (OCI image-spec, layer.md); in an overlay's directories a device
0:0 and an extended attribute (the kernel's overlayfs documentation); unpacked flat they remove at once.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress

from kit.images.beneath import DEPTH, OPEN_DIRECTORY, Beneath, Identity, identity
from kit.images.directory import OPAQUE, WHITEOUT
from kit.images.errors import HostileLayer, ImageError
from kit.images.tar import Member
from kit.linux.remove import remove


def is_whiteout(name: str, directory: int) -> bool:
    """Whether ``name`` is what an overlay takes for a removed file."""
    status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def make_opaque(directory: int) -> None:
    """Let an overlay show nothing of the lower layers here.

    The note is in the "trusted." names, or without the right to those in the "user." names, which the
    overlay's mount option userxattr goes by.
    """
    try:
        os.setxattr(directory, "trusted.overlay.opaque", b"y")
    except PermissionError:
        os.setxattr(directory, "user.overlay.opaque", b"y")


class Whiteouts:
    """The whiteouts of one layer. Each is for what the layers below have, wherever in the layer it stands."""

    def __init__(self, beneath: Beneath, overlay: bool) -> None:
        self.beneath, self.overlay = beneath, overlay
        self._hidden: set[tuple[Identity, str]] = set()

    def hides(self, name: str) -> bool:
        """Whether what lower layers have as ``name`` in the present directory has been removed."""
        return (self.beneath.identity, name) in self._hidden

    def apply(self, parts: list[str], member: Member) -> None:
        """Carry out the one in the present directory. Raises HostileLayer, OSError."""
        name, opaque = parts[-1].removeprefix(WHITEOUT), parts[-1] == OPAQUE
        if (
            member.kind != "file"
            or any(part.startswith(WHITEOUT) for part in parts[:-1])
            or name in ("", ".", "..", parts[-1])
            or (name.startswith(WHITEOUT) and not opaque)
        ):
            raise HostileLayer(f"names with {WHITEOUT} are for whiteouts, and this is none", member.name)
        parent = self.beneath.parent
        if opaque:
            if self.overlay and len(parts) == 1:
                raise ImageError("an overlay can't hide the whole of all the layers below", member.name)
            self._hide_below(parent)
        elif name in self.beneath.made.get(self.beneath.identity, ()):
            if self.beneath.is_directory(name):
                fd = os.open(name, OPEN_DIRECTORY, dir_fd=parent)
                try:
                    self._hide_below(fd)
                finally:
                    os.close(fd)
        elif not self.overlay:
            with suppress(FileNotFoundError):
                remove(name, parent)
        elif not self.hides(name):
            os.mknod(name, stat.S_IFCHR, os.makedev(0, 0), dir_fd=parent)
            self._hidden.add((self.beneath.identity, name))

    def _hide_below(self, directory: int) -> None:
        if self.overlay:
            make_opaque(directory)
        else:
            self._prune(directory, 0)

    def _prune(self, directory: int, depth: int) -> None:
        """Remove what this layer has not made."""
        if depth > DEPTH:
            raise HostileLayer(f"directories more than {DEPTH} deep")
        made = self.beneath.made.get(identity(directory), ())
        for name in os.listdir(directory):
            if name not in made:
                remove(name, directory)
            elif stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
                below = os.open(name, OPEN_DIRECTORY, dir_fd=directory)
                try:
                    self._prune(below, depth + 1)
                finally:
                    os.close(below)
