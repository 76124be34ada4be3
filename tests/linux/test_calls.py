"""The thin wrappers: mounts, pidfds, capabilities, cgroup directories; what they do and how they refuse."""

from __future__ import annotations

import os
import pickle
import signal
from pathlib import Path

import pytest

from kit import owner
from kit.linux import capabilities, cgroupfs, pidfd, proc
from kit.linux.errors import KernelError
from kit.linux.mount import MountFlags, mount, umount
from kit.linux.spawn import run, start

needs_root = pytest.mark.needs("root")


def test_an_error_says_what_errno_and_remedy():
    error = KernelError("do a thing", 1, "Be root.", "/some/path")
    assert str(error) == "do a thing: EPERM (Operation not permitted). Be root."
    assert isinstance(error, OSError) and error.errno == 1 and error.filename == "/some/path"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


@needs_root
def test_mount_and_unmount(tmp_path):
    mount("tmpfs", str(tmp_path), "tmpfs", MountFlags.NOSUID, "size=1m,mode=700")
    try:
        found = [m for m in proc.mountinfo() if m.mount_point == str(tmp_path)]
        assert len(found) == 1 and found[0].fstype == "tmpfs" and "nosuid" in found[0].options
    finally:
        umount(str(tmp_path))
    assert not [m for m in proc.mountinfo() if m.mount_point == str(tmp_path)]


@needs_root
def test_refused_mounts_teach(tmp_path):
    with pytest.raises(KernelError, match=r"mount tmpfs on /no/such: ENOENT .*does not exist"):
        mount("tmpfs", "/no/such", "tmpfs")
    with pytest.raises(KernelError, match=r"ENODEV .*/proc/filesystems"):
        mount("x", str(tmp_path), "nofs")
    with pytest.raises(KernelError, match=r"unmount .*EINVAL .*not a mount point"):
        umount(str(tmp_path))


def test_pidfd():
    with start(["sleep", "60"]) as process:
        fd = pidfd.pidfd_open(process.pid)
        assert not pidfd.wait_exit(fd, 0)
        pidfd.send_signal(fd, signal.SIGTERM)
        assert pidfd.wait_exit(fd, 10)
        os.close(fd)
        process.wait(10)
        with pytest.raises(KernelError, match=r"ESRCH.*No process has that number"):
            pidfd.pidfd_open(process.pid)


def test_capability_names_agree_with_the_kernel():
    effective, permitted, _ = capabilities.get()
    assert effective == int(proc.status()["CapEff"], 16) and permitted == int(proc.status()["CapPrm"], 16)
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    assert len(capabilities.CAPABILITIES) == last + 1
    assert capabilities.number("cap_sys_admin") == capabilities.number("SYS_ADMIN") == 21
    assert capabilities.names(1 << 21 | 1) == {"CAP_SYS_ADMIN", "CAP_CHOWN"}


@needs_root
def test_a_group_is_emptied_and_removed_with_all_below():
    root = next(m.mount_point for m in proc.mountinfo() if m.fstype in ("cgroup", "cgroup2"))
    path = os.path.join(root, f"{owner.prefix()}-below")
    with owner.owns("cgroup", path):
        os.makedirs(os.path.join(path, "a/b"))
        assert list(cgroupfs.below(path)) == [f"{path}/a/b", f"{path}/a", path]
        with start(["sleep", "60"], cgroups=[os.path.join(path, "a/b")]) as process:
            assert cgroupfs.pids(os.path.join(path, "a/b")) == [process.pid]
            cgroupfs.remove(path)
            assert process.wait(10) == -signal.SIGKILL
        assert not os.path.exists(path)
        assert cgroupfs.pids(path) == []
        cgroupfs.remove(path)  # gone already is fine
    assert run(["true"]).returncode == 0


@needs_root
def test_a_group_that_v1_has_frozen_is_removed_too():
    root = next((m.mount_point for m in proc.mountinfo() if "freezer" in m.super_options.split(",")), None)
    if root is None:
        pytest.skip("no v1 freezer is mounted here")
    path = os.path.join(root, f"{owner.prefix()}-frozen")
    with owner.owns("cgroup", path):
        os.mkdir(path)
        with start(["sleep", "60"], cgroups=[path]) as process:
            Path(path, "freezer.state").write_text("FROZEN")
            cgroupfs.remove(path)
            assert process.wait(10) == -signal.SIGKILL
    assert not os.path.exists(path)
