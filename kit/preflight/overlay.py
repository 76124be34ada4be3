"""A stack of directories that looks like one, as images do it.

See https://docs.kernel.org/filesystems/overlayfs.html.
"""

from __future__ import annotations

import os
import stat

from kit.linux.clone import NAMESPACES, unshare
from kit.linux.mount import MountFlags, mount
from kit.preflight.row import Finding


def overlay() -> Finding:
    """Mount one; change a file of the lower layer and delete another; look at the upper layer.

    All directories are on a tmpfs that only this namespace sees, so nothing of it is left on a disk.
    """
    unshare(NAMESPACES["mount"])
    mount(None, "/", None, MountFlags.REC | MountFlags.PRIVATE)
    mount("kit-doctor", "/tmp", "tmpfs", MountFlags.NOSUID | MountFlags.NODEV, "size=1m")
    for name in ("lower", "upper", "work", "merged"):
        os.mkdir(f"/tmp/{name}")
    for name in ("changed", "deleted"):
        _write(f"/tmp/lower/{name}", "old")
    mount(
        "kit-doctor", "/tmp/merged", "overlay", 0, "lowerdir=/tmp/lower,upperdir=/tmp/upper,workdir=/tmp/work"
    )
    _write("/tmp/merged/changed", "new")
    os.unlink("/tmp/merged/deleted")

    copied_up = _read("/tmp/upper/changed") == "new" and _read("/tmp/lower/changed") == "old"
    mark = os.lstat("/tmp/upper/deleted")
    whiteout = stat.S_ISCHR(mark.st_mode) and mark.st_rdev == 0 and os.path.exists("/tmp/lower/deleted")
    if copied_up and whiteout:
        return Finding(
            "yes",
            "a changed file was copied up, a deleted one left a whiteout, the lower layer stayed as it was",
        )
    wrong = "copied up a changed file wrongly" if not copied_up else "left no whiteout for a deleted file"
    return Finding("no", f"it mounted, but {wrong}")


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


def _read(path: str) -> str:
    with open(path) as file:
        return file.read()
