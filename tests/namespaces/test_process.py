"""A process in each new namespace: what is new inside, what stays as it was outside."""

import errno
import os
import socket

import pytest

from kit.linux import proc
from kit.linux.clone import NAMESPACES
from kit.linux.errors import KernelError
from kit.namespaces import Mount, of, run, start

needs_root = pytest.mark.needs("root")


@needs_root
@pytest.mark.parametrize("kind", NAMESPACES)
def test_only_the_namespace_asked_for_is_new(kind):
    with start("sleep 60", kind) as process:
        assert of(process).own == (kind,)


@needs_root
def test_all_eight_at_once():
    with start("sleep 60", "all") as process:
        assert of(process).own == tuple(NAMESPACES)


@needs_root
def test_uts_has_a_host_name_of_its_own():
    outside = socket.gethostname()
    assert str(run("hostname", "uts", hostname="inside")) == "inside\n"
    assert str(run("sh -c 'hostname changed; hostname'", "uts")) == "changed\n"
    assert socket.gethostname() == outside


@needs_root
def test_a_mount_inside_is_not_seen_outside(tmp_path):
    mount = Mount("tmpfs", str(tmp_path), "tmpfs")
    said = run(["sh", "-c", f"touch {tmp_path}/here; ls {tmp_path}"], "mount", mounts=[mount])
    assert str(said) == "here\n"
    assert os.listdir(tmp_path) == []


@needs_root
@pytest.mark.needs("ipcmk")
def test_ipc_objects_stay_inside_and_vanish_with_it():
    count = "tail -n +2 /proc/sysvipc/msg | wc -l"
    outside = str(run(["sh", "-c", count]))
    assert str(run(["sh", "-c", f"ipcmk -Q >/dev/null; {count}"], "ipc")).strip() == "1"
    assert str(run(["sh", "-c", count])) == outside


@needs_root
def test_pid_counts_from_one_and_the_old_proc_goes_on_showing_the_old_namespace():
    assert str(run(["sh", "-c", "echo $$"], "pid")) == "1\n"
    shown = "ls /proc | grep -c '^[0-9]'"
    old, fresh = (int(str(run(["sh", "-c", shown], "pid mount", proc=fresh))) for fresh in (False, True))
    assert fresh <= 3 < old  # sh, ls and grep
    # /proc/self is looked up in the namespace of the old mount: the process is found by its outside number
    assert int(str(run("readlink /proc/self", "pid mount"))) > 1
    assert str(run("readlink /proc/self", "pid mount", proc=True)) == "1\n"


@needs_root
def test_a_new_network_has_a_loopback_that_is_down_until_asked():
    interfaces = "tail -n +3 /proc/net/dev | cut -d: -f1"
    assert str(run(["sh", "-c", interfaces], "network")).split() == ["lo"]
    for loopback, state in ((False, "0x8"), (True, "0x9")):  # IFF_LOOPBACK, and IFF_UP
        flags = run(
            ["sh", "-c", "mount -t sysfs s /sys && cat /sys/class/net/lo/flags"],
            "network mount",
            loopback=loopback,
        )
        assert str(flags).strip() == state


@needs_root
def test_root_inside_is_nobody_outside():
    ids = [(0, 65534, 1)]
    with start("sleep 60", "user", uid_map=ids, gid_map=ids) as process:
        assert proc.status(process.pid)["Uid"].split() == ["65534"] * 4
    assert str(run("id -u", "user", uid_map=ids, gid_map=ids)) == "0\n"


@needs_root
def test_root_inside_has_every_capability_but_not_over_what_is_outside():
    ids = [(0, 65534, 1)]
    has = run("grep CapEff /proc/self/status", "user", uid_map=ids, gid_map=ids)
    assert int(str(has).split()[1], 16).bit_count() > 35
    refused = run("hostname pwned", "user", uid_map=ids, gid_map=ids)  # the machine's uts namespace
    assert refused.returncode != 0
    allowed = run("sh -c 'hostname mine; hostname'", "user uts", uid_map=ids, gid_map=ids)
    assert str(allowed) == "mine\n"


@needs_root
def test_time_shifts_boot_time_and_leaves_the_date_alone():
    days = 100 * 24 * 3600
    before = float(str(run("cat /proc/uptime")).split()[0])
    inside = float(str(run("cat /proc/uptime", "time", time_offsets={"boottime": days})).split()[0])
    assert 0 <= inside - before - days < 60
    assert str(run("date +%Y%m", "time", time_offsets={"boottime": days})) == str(run("date +%Y%m"))


@needs_root
@pytest.mark.parametrize(
    ("wish", "kind"),
    [
        ({"hostname": "x"}, "uts"), ({"proc": True}, "mount"), ({"root": "/tmp"}, "mount"),
        ({"mounts": [Mount("tmpfs", "/mnt", "tmpfs")]}, "mount"), ({"loopback": True}, "network"),
        ({"uid_map": [(0, 0, 1)]}, "user"), ({"time_offsets": {"boottime": 1}}, "time"),
    ],
)  # fmt: skip
def test_what_would_hit_the_whole_machine_is_refused(wish, kind):
    name = socket.gethostname()
    with pytest.raises(ValueError, match=f"needs a new {kind} namespace"):
        run("true", "ipc", **wish)
    assert socket.gethostname() == name


def test_a_host_name_too_long_is_refused_before_anything_is_made():
    with pytest.raises(ValueError, match="1 to 64 bytes, this one has 65"):
        start("true", "uts", hostname="a" * 65)


@needs_root
def test_the_step_that_failed_is_named():
    with pytest.raises(KernelError, match="exec no-such-program: ENOENT") as caught:
        run("no-such-program", "all")
    assert caught.value.remedy
    with pytest.raises(KernelError, match="mount nosuchfs") as caught:
        run("true", "mount", mounts=[Mount("x", "/mnt", "nosuchfs")])
    assert caught.value.errno == errno.ENODEV
    with pytest.raises(KernelError, match="set the clock offsets"):
        run("true", "time", time_offsets={"boottime": -(10**9)})
