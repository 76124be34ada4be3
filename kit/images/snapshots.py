"""A directory for each layer, unpacked once and shared by all images and containers that stand on it.

They lie in the store as ``snapshots/<chain id>/fs``. The chain id (OCI image-spec, config.md) stands for a
layer and all the layers below it. An overlay takes the directories as its lower ones: see mount(8).
"""

from __future__ import annotations

import fcntl
import os
import secrets
import stat
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from pathlib import Path

from kit.images.beneath import OPEN_DIRECTORY
from kit.images.blob import as_kernel_error
from kit.images.descriptor import Descriptor, check_digest
from kit.images.image import Image
from kit.images.store import Store
from kit.images.unpack import unpack
from kit.linux.libc import call, libc
from kit.linux.remove import remove, remove_path


class Held(ExitStack):
    """An image's snapshots, which nobody removes until this is closed or the program ends.

    ``lower_dirs`` are their directories in an overlay's order, topmost first.
    """

    def __init__(self) -> None:
        super().__init__()
        self.lower_dirs: list[Path] = []


class Snapshots:
    """The snapshots of a store; several programs may make, use and remove them at once.

    The directory is for its owner alone: what is setuid in an image is not for the users of this machine.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.directory = store.directory / "snapshots"
        with as_kernel_error("keep unpacked layers in", self.directory):
            self.directory.mkdir(mode=0o700, exist_ok=True)

    def path(self, chain_id: str) -> Path:
        """Where the snapshot is, or would be; raises :class:`BadDescriptor` for what is no digest."""
        return self.directory / check_digest(chain_id).removeprefix("sha256:") / "fs"

    def hold(self, image: Image) -> Held:
        """The image's snapshots, for as long as they are needed; those that are missing are made.

        Raises BlobMissing, BlobCorrupt, and as :func:`kit.images.unpack.unpack`; then what was begun is gone.
        """
        held = Held()
        try:
            for chain_id, layer, diff_id in zip(image.chain_ids(), image.layers, image.diff_ids, strict=True):
                path = self.path(chain_id)
                while (lock := _lock(path.parent, fcntl.LOCK_SH)) is None:
                    self._make(path.parent, layer, diff_id, held.lower_dirs)
                held.callback(os.close, lock)
                held.lower_dirs.insert(0, path)
        except BaseException:
            held.close()
            raise
        return held

    def _make(self, place: Path, layer: Descriptor, diff_id: str, below: list[Path]) -> None:
        """Unpack under a temporary name and rename, unless another program has done so meanwhile."""
        work = place.with_name(f".{place.name}")
        with as_kernel_error("unpack a layer in", work):
            with suppress(FileExistsError):  # exist_ok would look again, when another may have renamed it
                work.mkdir(mode=0o700)
            if (lock := _lock(work, fcntl.LOCK_EX)) is None:
                return
            try:
                if place.exists():
                    remove_path(work)
                    return
                with suppress(FileNotFoundError):  # of a program that died over it
                    remove("fs", lock)
                new_root(work / "fs", below)
                with self.store.open(layer) as stream:
                    unpack(stream, work / "fs", diff_id=diff_id, below=below)
                call(libc.syncfs, lock)  # so that after a power cut it is there whole or not at all
                work.rename(place)
            except BaseException:
                remove_path(work)
                raise
            finally:
                os.close(lock)

    def remove_unused(
        self, keep: Iterable[str] = (), among: Iterable[str] | None = None, dry_run: bool = False
    ) -> list[str]:
        """Remove all snapshots but those of the chain ids in ``keep`` and those that are held.

        ``among`` are the chain ids to look at, by default all; then what dead programs left unfinished goes
        too. Returns the chain ids of what was removed, or would be.
        """
        names = set(os.listdir(self.directory))
        if among is not None:
            names &= {self.path(chain_id).parent.name for chain_id in among}
        removed = []
        for name in sorted(names - {self.path(chain_id).parent.name for chain_id in keep}):
            place = self.directory / name
            if (lock := _lock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)) is None:
                continue
            try:
                if not name.startswith("."):
                    removed.append(f"sha256:{name}")
                if not dry_run:
                    remove_path(place.rename(self.directory / f".{secrets.token_hex(8)}"))  # gone at once
            finally:
                os.close(lock)
        return removed


def new_root(root: Path, below: list[Path]) -> None:
    """Make a layer's root directory, like that of the layer below, which it would otherwise hide."""
    root.mkdir()
    status = below[0].stat() if below else None
    if status and os.geteuid() == 0:
        os.chown(root, status.st_uid, status.st_gid)
    root.chmod(stat.S_IMODE(status.st_mode) if status else 0o755)  # whatever the umask says


def _lock(directory: Path, how: int) -> int | None:
    """Hold flock(2) on a directory; None where it isn't there (any more), or others' hold forbids it."""
    try:
        fd = os.open(directory, OPEN_DIRECTORY)
    except FileNotFoundError:
        return None
    with ExitStack() as unless_held:
        unless_held.callback(os.close, fd)
        with suppress(BlockingIOError, FileNotFoundError):  # held, or renamed while we waited
            fcntl.flock(fd, how)
            if os.path.samestat(os.fstat(fd), os.stat(directory)):
                unless_held.pop_all()
                return fd
    return None
