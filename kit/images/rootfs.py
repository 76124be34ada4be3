"""An image as a directory that can be changed: its snapshots, stacked by an overlay mount. See mount(8).

    <store>/mounts/<owner>-xxxxxx/merged    what a container sees: the layers, and its own changes above them
                                  upper     those changes alone: files, whiteouts, opaque directories
                                  work      the kernel's own, to make each change at once

The layers below are never written to, so any number of mounts may share them. See the kernel's overlayfs
documentation for how a change is kept.
"""

from __future__ import annotations

import errno
import mmap
import os
import secrets
import weakref
from contextlib import ExitStack
from pathlib import Path

from kit import owner
from kit.images.beneath import OPEN_DIRECTORY
from kit.images.blob import as_kernel_error
from kit.images.directory import diff
from kit.images.entry import Entry
from kit.images.image import Image
from kit.images.snapshots import Snapshots, new_root
from kit.images.store import Store
from kit.linux.errors import KernelError
from kit.linux.mount import MountFlags
from kit.linux.mount import mount as mount_filesystem

# Every change is kept whole in the upper directory, so that it can become a layer. It is thrown away with the
# mount, so there is nothing to bring to the disk when that ends: volatile (Linux 5.10).
_OPTIONS = "metacopy=off,redirect_dir=off,index=off,volatile"
_ROOM = mmap.PAGESIZE - 1  # bytes of options that mount(2) takes
_REMEDY = {
    errno.EPERM: "Mounting an image needs root: sudo.",
    errno.EINVAL: "The store must lie on a file system that can hold an overlay's changes (ext4, xfs, btrfs, "
    "tmpfs), which an overlay can't. In a container, keep it on a volume: set KIT_IMAGES.",
    errno.ENODEV: "This kernel has no overlay file system: kit doctor tells what else is missing.",
    errno.E2BIG: "Build it anew with fewer layers: one RUN for several commands.",
}


class Rootfs:
    """A mounted image; ``with`` or :meth:`close` unmounts it and throws its changes away.

    ``path`` is the merged tree, ``upper`` the directory with what was changed, ``lower_dirs`` the layers,
    topmost first. While it is mounted, nobody removes its snapshots.
    """

    def __init__(
        self, image: Image | None, directory: Path, lower_dirs: list[Path], cleanup: ExitStack
    ) -> None:
        self.image = image
        self.path = directory / "merged"
        self.upper = directory / "upper"
        self.lower_dirs = lower_dirs
        self._finalizer = weakref.finalize(self, cleanup.close)  # a cell that is run again drops the last one

    def changes(self) -> list[Entry]:
        """What was changed, as the entries of a layer: :func:`kit.images.directory.diff`.

        Their files are read from :attr:`upper` when the layer is packed, so pack it before closing, and let
        nothing run inside meanwhile.
        """
        return list(diff(self.upper))

    def __fspath__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        return f"Rootfs({str(self.path)!r})"

    def close(self) -> None:
        """Unmount it, remove the changes and let go of the snapshots; once more is fine."""
        self._finalizer()

    def __enter__(self) -> Rootfs:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def mount(store: Store, image: Image | None, *, read_only: bool = False) -> Rootfs:
    """Mount an image, or with None an empty directory; snapshots that are missing are made first.

    Devices inside are dead: a container has its own /dev. Raises :class:`KernelError` (EPERM without root,
    EINVAL, E2BIG for more layers than mount(2) takes), and as :meth:`Snapshots.hold`; nothing is left then.
    """
    if os.geteuid():
        raise KernelError("mount an image", errno.EPERM, _REMEDY[errno.EPERM])
    with ExitStack() as cleanup:
        mounts = store.directory / "mounts"
        directory = mounts / f"{owner.prefix()}-{secrets.token_hex(3)}"
        lower_dirs = cleanup.enter_context(Snapshots(store).hold(image)).lower_dirs if image else []
        cleanup.enter_context(owner.owns("directory", str(directory)))  # and what is mounted below it
        with as_kernel_error("make a directory for a mount in", mounts):
            mounts.mkdir(mode=0o700, exist_ok=True)  # setuid programs in it are not for this machine's users
            directory.mkdir(mode=0o700)
            (directory / "merged").mkdir()
            (directory / "work").mkdir()
            new_root(directory / "upper", lower_dirs)
            if not lower_dirs:
                lower_dirs = [directory / "lower"]
                lower_dirs[0].mkdir()
        overlay(directory, lower_dirs, MountFlags.RDONLY if read_only else 0)
        return Rootfs(image, directory, lower_dirs, cleanup.pop_all())


def overlay(directory: Path, lower_dirs: list[Path], flags: int = 0) -> None:
    """Mount ``upper`` over the layers at ``merged``, all below a directory. Raises KernelError.

    Where the paths don't fit into the options, open descriptors stand for them.
    """
    paths = [*map(str, lower_dirs), str(directory / "upper"), str(directory / "work")]
    options = _options(paths)
    with ExitStack() as opened:
        if len(os.fsencode(options)) > _ROOM or any(set(path) & set(",:\\") for path in paths):
            fds = [os.open(path, OPEN_DIRECTORY) for path in paths]
            for fd in fds:
                opened.callback(os.close, fd)
            options = _options([f"/proc/self/fd/{fd}" for fd in fds])
        try:
            if len(options) > _ROOM:
                raise KernelError("mount", errno.E2BIG)  # mount(2) would cut them off
            mount_filesystem("kit", str(directory / "merged"), "overlay", MountFlags.NODEV | flags, options)
        except KernelError as error:
            what, number = f"mount an image of {len(lower_dirs)} layers", error.errno or 0
            raise KernelError(what, number, _REMEDY.get(number, error.remedy), str(directory)) from None


def _options(paths: list[str]) -> str:
    *lower_dirs, upper, work = paths
    return f"{_OPTIONS},lowerdir={':'.join(lower_dirs)},upperdir={upper},workdir={work}"
