"""/proc readers, beside psutil and findmnt."""

from __future__ import annotations

import json
import os
import subprocess

import psutil
import pytest

from kit.linux import proc
from kit.linux.errors import KernelError
from kit.linux.spawn import run, start


def test_agrees_with_psutil():
    me = psutil.Process()
    assert proc.parent(me.pid) == me.ppid()
    assert proc.command(me.pid) == me.cmdline()
    assert proc.start_time(me.pid) / os.sysconf("SC_CLK_TCK") == pytest.approx(
        me.create_time() - psutil.boot_time(), abs=2
    )
    assert me.pid in proc.pids() and proc.pids() == sorted(proc.pids())
    assert proc.status()["Name"] == me.name()


def test_a_name_with_spaces_and_parentheses_is_read_rightly(tmp_path):
    odd = tmp_path / "a) (b c"
    os.symlink("/bin/sleep", odd)
    with start([str(odd), "60"]) as process:
        assert proc.parent(process.pid) == psutil.Process(process.pid).ppid()
        assert proc.state(process.pid) in "SRD"


def test_mountinfo_agrees_with_findmnt():
    listed = json.loads(subprocess.check_output(["findmnt", "-J", "--list", "-o", "ID,TARGET,FSTYPE"]))[
        "filesystems"
    ]
    assert {(m.mount_id, m.mount_point, m.fstype) for m in proc.mountinfo()} == {
        (int(m["id"]), m["target"], m["fstype"]) for m in listed
    }


@pytest.mark.needs("root")
def test_a_mount_point_with_a_space_is_read_rightly(tmp_path):
    from kit.linux.spawn import Mount

    place = tmp_path / "with space"
    place.mkdir()
    with start(["sleep", "60"], unshare=["mount"], mounts=[Mount("tmpfs", str(place), "tmpfs")]) as process:
        assert str(place) in [m.mount_point for m in proc.mountinfo(process.pid)]


def test_cgroups_are_those_of_the_file():
    lines = [f"{h}:{','.join(c)}:{path}" for h, c, path in proc.cgroups()]
    with open("/proc/self/cgroup") as file:
        assert lines == file.read().splitlines()


def test_a_process_that_has_gone_is_told():
    pid = int(run(["sh", "-c", "echo $$"]).stdout)
    for reader in (proc.status, proc.namespaces, proc.parent, proc.mountinfo, proc.uid_map, proc.cgroups):
        with pytest.raises(KernelError, match=r"ENOENT.*No process has that number") as caught:
            reader(pid)
        assert caught.value.errno_name == "ENOENT"
