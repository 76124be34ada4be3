"""Root inside, and images and volumes made to harm: what they try must fail."""

from __future__ import annotations

import json
import os
import platform
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from kit.containers import BadConfig
from kit.linux.errors import KernelError

pytestmark = pytest.mark.needs("root", "busybox")


ATTACKS = [
    ("mount -t tmpfs x /tmp", "ermission|permitted"),
    ("umount /proc/sys", "permitted"),
    ("echo b > /proc/sysrq-trigger", "Read-only|nonexistent"),
    ("echo '|/x' > /proc/sys/kernel/core_pattern", "Read-only"),
    ("echo x > /sys/fs/cgroup/memory/release_agent", "Read-only|nonexistent"),
    ("touch /sys/fs/cgroup/x", "Read-only"),
    ("mkdir /sys/kernel/x", "Read-only|permitted"),
    ("test -s /proc/kcore && echo seen || echo nothing", "nothing"),
    ("test -n \"$(ls /sys/firmware)\" && echo seen || echo nothing", "nothing"),
    ("test -s /proc/keys && echo seen || echo nothing", "nothing"),
    ("mknod /dev/disk b 254 0 && cat /dev/disk", "ermission denied"),
    ("mknod /disk b 254 0 && cat /disk", "ermission denied"),
    ("mknod /tmp/mem c 1 1 && cat /tmp/mem", "ermission denied"),
    ("unshare -U id", "permitted"),
    ("unshare -m id", "permitted"),
    ("nsenter -t 1 -m id", "permitted"),
    ("hostname other", "permitted"),
    ("date -s 2000.01.01-00:00", "permitted"),
    ("reboot -f", "permitted"),
    ("chroot / dmesg", "permitted"),
    ("swapon /x", "permitted|No such"),
    ("ip link set lo down", "permitted"),
    ("kill -0 %(host)d", "No such process"),
    ("ls /proc/%(host)d", "No such file"),
]  # fmt: skip


def test_what_root_inside_can_not_do(box: Any) -> None:
    script = "\n".join(f"({attack}) 2>&1; echo '===='" for attack, _ in ATTACKS)
    said = box.run(script.replace("%(host)d", str(os.getpid()))).split("====\n")
    for (attack, answer), heard in zip(ATTACKS, said, strict=False):
        assert any(part in heard for part in answer.split("|")), (attack, heard)


CALLS = {
    "x86_64": {
        "keyctl": 250,
        "bpf": 321,
        "kexec_load": 246,
        "userfaultfd": 323,
        "clone3": 435,
        "add_key": 248,
        "getpid_of_x32": 0x40000000 + 39,
    },
    "aarch64": {
        "keyctl": 219,
        "bpf": 280,
        "kexec_load": 104,
        "userfaultfd": 282,
        "clone3": 435,
        "add_key": 217,
    },
}


def test_calls_that_the_filter_refuses(box: Any) -> None:
    """Asked by a Python of this machine, with its directories bound read-only."""
    calls = CALLS[platform.machine()]
    script = (
        "import ctypes,errno;l=ctypes.CDLL(None,use_errno=True)\n"
        f"for n,c in {calls!r}.items(): print(n, l.syscall(c,0,0,0,0,0), errno.errorcode[ctypes.get_errno()])"
    )
    said = box.run(["/usr/bin/python3", "-c", script], mounts=system())
    assert said.split() == [
        word for name in calls for word in (name, "-1", "ENOSYS" if name == "clone3" else "EPERM")
    ]


def test_the_hosts_processes_can_be_neither_traced_nor_signalled(box: Any) -> None:
    """ptrace(2) to attach, kill(2) and pidfd_open(2): nobody has that number."""
    ptrace, kill = {"x86_64": (101, 62), "aarch64": (117, 129)}[platform.machine()]
    calls = [(ptrace, 16, os.getpid()), (kill, os.getpid(), 0), (434, os.getpid(), 0)]
    script = (
        "import ctypes,errno;l=ctypes.CDLL(None,use_errno=True)\n"
        f"for c in {calls}: print(l.syscall(*c, 0, 0), errno.errorcode[ctypes.get_errno()])"
    )
    said = box.run(["/usr/bin/python3", "-c", script], mounts=system(), cap_add=["SYS_PTRACE"])
    assert said.split() == ["-1", "ESRCH"] * 3


def test_a_profile_in_dockers_format(box: Any) -> None:
    """Its rules hold by architecture, capability and kernel; the names of the calls are those of busybox."""
    uname = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "archMap": [{"architecture": f"SCMP_ARCH_{platform.machine().upper()}", "subArchitectures": None}],
        "syscalls": [
            _denied("mkdir mkdirat", includes={"arches": [uname], "minKernel": "4.8"}),
            _denied("symlink symlinkat", includes={"caps": ["CAP_SYS_ADMIN"]}),
            _denied("rmdir", excludes={"caps": ["CAP_CHOWN"]}),
            _denied("unlink unlinkat", excludes={"arches": ["s390x"], "minKernel": "999.0"}),
        ],
    }
    script = "mkdir /tmp/d; ln -s x /tmp/l && echo linked; touch /tmp/f; rm -f /tmp/f; echo $?"
    said = box.run(script, security_opt=[f"seccomp={json.dumps(profile)}"]).splitlines()
    assert "mkdir" in said[0] and "not permitted" in said[0] and said[1] == "linked" and said[-1] == "1"


def _denied(names: str, **conditions: Any) -> dict[str, Any]:
    return {"names": names.split(), "action": "SCMP_ACT_ERRNO", "args": None, "comment": "", **conditions}


def system() -> list[tuple[str, str, str]]:
    return [(path, path, "ro") for path in ("/usr", "/lib", "/lib64") if os.path.isdir(path)]


def test_no_new_privileges_hold(box: Any) -> None:
    (box.root / "bin/su").unlink()
    (box.root / "bin/su").write_bytes((box.root / "bin/busybox").read_bytes())
    (box.root / "bin/su").chmod(0o4755)
    show = "/bin/su -c 'id -u' 2>&1; grep NoNewPrivs /proc/self/status"
    assert "NoNewPrivs:\t1" in box.run(show, security_opt=["no-new-privileges"], user="1000")


def test_a_mount_lands_inside_whatever_link_is_there(box: Any, tmp_path: Path) -> None:
    """CVE-2021-30465 and its like: the target of a mount is a link that leads out."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    shared = tmp_path / "volume"
    shared.mkdir()
    (shared / "link").symlink_to(outside)
    (box.root / "absolute").symlink_to(outside)
    (box.root / "up").symlink_to("../../../../../../.." + str(outside))
    (box.root / "proc-link").symlink_to("/proc/self/fd/3")
    for target in ("/absolute", "/up"):
        with pytest.raises(KernelError) as refused:  # where it leads inside, there is nothing yet
            box.run("true", mounts=[(str(shared), f"{target}/deeper", "rw")])
        assert refused.value.errno_name == "EEXIST"
    inside = box.root / str(outside).lstrip("/")
    inside.mkdir(parents=True)
    for target in ("/absolute", "/up"):
        box.run("true", mounts=[(str(shared), f"{target}/deeper", "rw")])
        assert os.listdir(inside) == ["deeper"]
    assert os.listdir(outside) == ["secret"]
    box.run("true", mounts=[(str(shared), "/volume", "rw"), (str(shared), "/volume/link/x", "rw")])
    assert sorted(os.listdir(inside)) == ["deeper", "x"]
    assert os.listdir(outside) == ["secret"]
    with pytest.raises(KernelError) as refused:
        box.run("true", mounts=[(str(shared), "/proc-link/x", "rw")])
    assert refused.value.errno_name == "ELOOP"


@pytest.mark.parametrize("name", ["proc", "sys"])
def test_proc_and_sys_are_no_links(box: Any, name: str) -> None:
    """CVE-2019-16884: covers of /proc that are made elsewhere."""
    (box.root / name).rmdir()
    (box.root / name).symlink_to("/tmp")
    with pytest.raises(KernelError) as refused:
        box.run("true")
    assert refused.value.errno_name == "ELOOP" and "covers" in refused.value.remedy


def test_no_descriptor_of_the_host_as_working_directory(box: Any) -> None:
    """CVE-2024-21626, at the start and in exec."""
    container = box.start("sleep 60")
    for path in (*(f"/proc/self/fd/{fd}" for fd in range(3, 16)), "/proc/self/cwd", "/proc/1/root/.."):
        with pytest.raises(KernelError):
            box.run("pwd; ls ../../../../../..", workdir=path)
        with pytest.raises(KernelError):
            container.exec({"args": ["ls"], "cwd": path})


def test_nothing_is_open_that_was_not_given(box: Any) -> None:
    kept = os.open("/", os.O_RDONLY)
    os.set_inheritable(kept, True)
    try:
        said = box.run("ls -l /proc/self/fd")
        assert [line.split()[8] for line in said.splitlines() if "->" in line] == ["0", "1", "2"]
    finally:
        os.close(kept)


def test_the_runtime_can_not_be_overwritten(box: Any) -> None:
    """CVE-2019-5736: the program is a script whose interpreter is /proc/self/exe."""
    (box.root / "evil").write_text("#!/proc/self/exe\n")
    (box.root / "evil").chmod(0o755)
    before = Path("/proc/self/exe").resolve().stat()
    container = box.start(
        "while :; do for p in /proc/[0-9]*; do case $p in /proc/1|/proc/$$) ;; *)"
        " (echo evil > $p/exe) 2>> /tmp/answers;; esac; done; done"
    )
    for _ in range(20):
        with suppress(KernelError, TimeoutError):
            container.exec({"args": ["/evil"]}).wait(2)
    container.close()
    after = Path("/proc/self/exe").resolve().stat()
    assert (before.st_ino, before.st_mtime_ns, before.st_size) == (
        after.st_ino,
        after.st_mtime_ns,
        after.st_size,
    )
    assert "ermission denied" in (box.root / "tmp/answers").read_text()


def test_a_stopped_exec_holds_up_nobody(box: Any) -> None:
    """Root inside stops whatever appears beside it, before it has become a program of the container."""
    container = box.start(
        "while :; do for p in /proc/[0-9]*; do kill -STOP ${p#/proc/}; done; done 2> /dev/null"
    )
    with suppress(KernelError):  # it was stopped for too long, or it has won
        container.exec({"args": ["true"]})
    assert box.run("echo well") == "well\n"


def test_a_fork_bomb_a_memory_bomb_and_a_bomb_of_files(box: Any) -> None:
    said = box.run("for i in $(seq 100); do sleep 5 & done; wait", pids_limit=20, memory=64 << 20)
    assert "can't fork" in said
    box.run("x=x; while :; do x=$x$x; done", memory=16 << 20)
    assert box.status == 137
    script = 'i=3; while [ $i -lt 100 ]; do eval "exec $i</dev/null"; i=$((i+1)); done'
    assert "Too many open files" in box.run(script, ulimits={"nofile": (32, 32)}) or box.status != 0


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"network": "bridge"}, "network"),
        ({"cap_add": ["SYS_EVIL"]}, "SYS_EVIL"),
        ({"security_opt": ["apparmor=mine"]}, "apparmor"),
        ({"security_opt": ["seccomp={"]}, "seccomp"),
        ({"security_opt": ['seccomp={"defaultAction": "SCMP_ACT_NOTIFY"}']}, "SCMP_ACT_NOTIFY"),
        ({"security_opt": ["seccomp=[]"]}, "Docker's format"),
        ({"security_opt": ['seccomp={"syscalls": [{"includes": {"moon": "full"}}]}']}, "moon"),
        ({"devices": [("/dev/null", "/dev/x", "r")]}, "rwm"),
        ({"devices": [("/dev/null", "/dev/../x", "rwm")]}, "below /dev"),
        ({"mounts": [("/dev", "/dev", "rw")]}, "on /dev"),
        ({"devices": [("/etc/passwd", "/dev/x", "rwm")]}, "no device"),
        ({"memory_swap": 1 << 20}, "memory_swap"),
        ({"sysctls": {"kernel.core_pattern": "|/x"}}, "core_pattern"),
        ({"sysctls": {"net.ipv4.ip_forward": "1"}, "network": "host"}, "ip_forward"),
        ({"ulimits": {"nonsense": (1, 1)}}, "NONSENSE"),
        ({"workdir": "relative"}, "cwd"),
        ({"mounts": [("relative", "/x", "rw")]}, "absolute"),
        ({"mounts": [("/tmp", "/x", "rw,evil")]}, "evil"),
        ({"mounts": [("/tmp", "/x", "rw,rshared")]}, "rshared"),
        ({"mounts": [("/tmp", "x", "rw")]}, "slash"),
        ({"hostname": "x", "uts": "host"}, "uts"),
        ({"user": "nosuch"}, "nosuch"),
        ({"env": ["A=\0"]}, "zero byte"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(box: Any, options: dict[str, Any], named: str) -> None:
    with pytest.raises(BadConfig, match=named):
        box.run("true", **options)
