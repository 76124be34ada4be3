"""How a layer says that something is gone: whiteouts and opaque directories.

In a layer they are files with certain names (OCI image-spec, layer.md); in an overlay's directories a device
0:0 and an extended attribute (the kernel's overlayfs documentation).
"""

from __future__ import annotations

import os
import stat

from kit.images.errors import HostileLayer, ImageError

WHITEOUT = ".wh."  # before a name: what a lower layer has of that name is gone
OPAQUE = ".wh..wh..opq"  # in a directory: nothing of the lower layers shows through
OVERLAY = ("trusted.overlay.", "user.overlay.")  # xattrs of the overlay file system itself, not of files


def is_whiteout(name: str, directory: int) -> bool:
    """Whether an overlay takes ``name``, in an open directory, for a removed file."""
    status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def make_opaque(name: str, directory: int) -> None:
    """Let an overlay show nothing of the lower layers in the directory ``name`` of an open one.

    Without the right to "trusted." names, in a "user." one: the overlay's mount option userxattr goes by it.
    """
    path = f"/proc/self/fd/{directory}/{name}"
    try:
        os.setxattr(path, "trusted.overlay.opaque", b"y", follow_symlinks=False)
    except PermissionError:
        os.setxattr(path, "user.overlay.opaque", b"y", follow_symlinks=False)


def apply_whiteout(parts: list[str], kind: str, directory: int) -> None:
    """Carry out, in the open ``directory``, the whiteout that a member of the path ``parts`` is.

    It is for what the layers below have. What its own layer has there hides that already, but for a
    directory, which becomes opaque. Raises HostileLayer for what is no whiteout, ImageError for one that an
    overlay can't have, OSError.
    """
    *above, last = parts
    name = last.removeprefix(WHITEOUT)
    inside_one = any(part.startswith(WHITEOUT) for part in above)
    a_name = name not in ("", ".", "..", last) and not name.startswith(WHITEOUT)
    if kind != "file" or inside_one or not (a_name or last == OPAQUE):
        raise HostileLayer(f"names with {WHITEOUT} are for whiteouts, and this is none", "/".join(parts))
    if parts == [OPAQUE]:
        raise ImageError("an overlay can't hide the whole of all the layers below", OPAQUE)
    if last == OPAQUE:
        make_opaque(".", directory)
        return
    try:
        os.mknod(name, stat.S_IFCHR, os.makedev(0, 0), dir_fd=directory)
    except FileExistsError:
        if stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
            make_opaque(name, directory)
