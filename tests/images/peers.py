"""podman, buildah and skopeo, each call in a small world of its own, which takes all that they leave along.

They keep mounts, caches, locks and the state of their containers below /run and /var/lib, and crun refuses a
host with both versions of cgroups. So a call gets a mount namespace in which these directories are empty and
cgroup2 is not beside version 1, and a pid namespace, at whose end everything in it is killed: see unshare(1).
What has to outlive a call, the images, lies in one directory of the caller's.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

NEEDED = ("root", "podman", "buildah", "skopeo", "crun", "unshare")

_WORLD = """
set -e
for place in /run /dev/shm /var/lib/containers; do
    [ ! -d $place ] || mount -t tmpfs peers $place
done
! mountpoint -q /sys/fs/cgroup/unified || umount /sys/fs/cgroup/unified
"$@" || exit  # no exec: the shell, as PID 1, reaps conmon, for whose end podman waits
"""
_UNSHARE = "unshare --mount --pid --fork --kill-child --mount-proc sh -c".split()

# Containers get no cgroup, and no more limits than root may set who lacks CAP_SYS_RESOURCE.
_CONTAINERS = """
[containers]
cgroups = "disabled"
netns = "none"
default_ulimits = ["nofile=1024:1024", "nproc=1000:1000"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
runtime = "crun"
[network]
network_config_dir = "/run/network"
"""
_STORAGE = """
[storage]
driver = "overlay"
graphroot = "{directory}/root"
runroot = "/run/containers"
"""


class Peers:
    """The three programs with images of their own in ``directory``, which is made."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir()
        (directory / "containers.conf").write_text(_CONTAINERS)
        (directory / "storage.conf").write_text(_STORAGE.format(directory=directory))
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(directory),
            "TMPDIR": str(directory),
            "CONTAINERS_CONF": str(directory / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(directory / "storage.conf"),
        }

    def run(self, *command: str | Path) -> str:
        """What the command writes to its standard output; an AssertionError where it fails."""
        done = subprocess.run(
            [*_UNSHARE, _WORLD, "peers", *command],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def build(self, context: Path, name: str) -> None:
        """``buildah bud``, a layer for each step."""
        self.run("buildah", "bud", "--isolation", "chroot", "--layers", "-q", "-t", name, context)

    def unpacked(self, name: str, directory: Path) -> Path:
        """A copy of the tree of an image as podman mounts it, with links, owners, times and attributes."""
        directory.mkdir()
        copy = 'cp -a "$(podman image mount "$1")/." "$2"'
        self.run("sh", "-c", copy, "copy", name, directory)
        return directory

    def identity(self, name: str) -> tuple[str, list[str]]:
        """The image's id and diff ids, as podman tells them."""
        form = "{{.Id}}{{range .RootFS.Layers}} {{.}}{{end}}"
        image_id, *diff_ids = self.run("podman", "image", "inspect", "--format", form, name).split()
        return f"sha256:{image_id}", diff_ids
