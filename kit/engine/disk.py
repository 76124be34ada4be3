"""A container's own files: an overlay whose changes stay until the container is removed. See mount(8).

    <data root>/containers/<id>/upper     what the container changed
                                merged    what it sees, while it runs or somebody looks
                                work      the kernel's own

Like those of :mod:`kit.images.rootfs`, the mounts are volatile: nothing waits for the disk when one ends, and
after a power cut changes may be lost.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from kit import owner
from kit.images.directory import diff
from kit.images.documents import Document
from kit.images.entry import Entry
from kit.images.image import Image
from kit.images.snapshots import Held, Snapshots, new_root
from kit.linux.mount import MountFlags
from kit.linux.mount import mount as mount_filesystem
from kit.linux.remove import remove_path

_OPTIONS = "metacopy=off,redirect_dir=off,index=off,volatile"
_OURS = ("etc/hostname", "etc/hosts", "etc/resolv.conf")
_OPEN = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


class Disk:
    """The files of one container, made from ``image``."""

    def __init__(self, directory: Path, image: Image) -> None:
        self.image = image
        self.path, self.upper, self._work = directory / "merged", directory / "upper", directory / "work"
        self._held: Held | None = None
        self._users, self._lock = 0, threading.Lock()
        self._mounted = ExitStack()

    def hold(self) -> list[Path]:
        """The image's snapshots, topmost first, which stay as long as the container. Raises as their hold."""
        if self._held is None:
            self._held = Snapshots(self.image.store).hold(self.image)
        if not self.upper.exists():
            new_root(self.upper, self._held.lower_dirs)
            self.path.mkdir(exist_ok=True)
        return self._held.lower_dirs

    @contextmanager
    def mounted(self) -> Iterator[Path]:
        """The merged tree; mounted by the first, unmounted by the last who uses it. Raises KernelError."""
        with self._lock:
            if not self._users:
                self._mount(self.hold())
            self._users += 1
        try:
            yield self.path
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    self._mounted.close()

    def _mount(self, lower_dirs: list[Path]) -> None:
        if self._work.exists():  # it says that it was volatile, and could not be mounted again
            remove_path(self._work)
        self._work.mkdir()
        with ExitStack() as opened, ExitStack() as cleanup:
            paths = []  # by descriptors: a page has room for many of those, and their names need no escapes
            for path in (*lower_dirs, self.upper, self._work):
                fd = os.open(path, _OPEN)
                opened.callback(os.close, fd)
                paths.append(f"/proc/self/fd/{fd}")
            *lower, upper, work = paths
            options = f"{_OPTIONS},lowerdir={':'.join(lower)},upperdir={upper},workdir={work}"
            cleanup.enter_context(owner.owns("mount", str(self.path)))
            mount_filesystem("kit", str(self.path), "overlay", MountFlags.NODEV, options)
            self._mounted = cleanup.pop_all()

    def entries(self) -> list[Entry]:
        """What the container changed, without the empty files that the engine's own were mounted over."""
        found = [one for one in diff(self.upper) if one.name not in _OURS or _is_used(one)]
        below = any(one.name.startswith("etc/") for one in found)
        return [one for one in found if one.name != "etc" or below or not (self.hold()[-1] / "etc").exists()]

    def changes(self) -> list[Document]:
        """What `docker diff` tells: 0 changed, 1 added, 2 deleted."""
        found = []
        for entry in self.entries():
            parent, _, name = entry.name.rpartition("/")
            gone = name.startswith(".wh.")
            if name == ".wh..wh..opq":
                continue
            path = f"{parent}/{name.removeprefix('.wh.')}" if gone else entry.name
            there = any(os.path.lexists(lower / path.lstrip("/")) for lower in self.hold())
            found.append({"Path": f"/{path.lstrip('/')}", "Kind": 2 if gone else 0 if there else 1})
        return sorted(found, key=lambda one: str(one["Path"]))

    def close(self) -> None:
        """Let go of the snapshots."""
        if self._held:
            self._held.close()
            self._held = None


def _is_used(entry: Entry) -> bool:
    return entry.kind != "file" or entry.source is None or entry.source.stat().st_size > 0
