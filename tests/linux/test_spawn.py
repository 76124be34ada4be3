"""Starting processes: on the real kernel, with what can go wrong."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from kit.linux import proc, seccomp, spawn
from kit.linux.clone import NAMESPACES, NS_LINKS
from kit.linux.errors import KernelError
from kit.linux.spawn import DEVNULL, PIPE, Mount, run, start

ROOT = Path(__file__).resolve().parents[2]
needs_root = pytest.mark.needs("root")


def until(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def test_output_and_status_come_back():
    result = run(["sh", "-c", "echo out; echo err >&2; exit 3"])
    assert (result.stdout, result.stderr, result.returncode) == ("out\n", "err\n", 3)
    with pytest.raises(RuntimeError, match="ended with 3: err"):
        result.check()


def test_a_signal_is_a_negative_status():
    with start(["sleep", "60"]) as process:
        assert process.poll() is None
        process.kill(signal.SIGTERM)
        assert process.wait(10) == -signal.SIGTERM
        process.kill()  # nothing happens to the one that has ended


def test_standard_input_is_passed_on():
    with start(["cat"], stdin=PIPE, stdout=PIPE) as process:
        process.stdin.write(b"to and fro")
        assert process.communicate(10) == (b"to and fro", b"")


def test_output_larger_than_a_pipe_does_not_block():
    assert len(run(["head", "-c", "3000000", "/dev/zero"]).stdout) == 3_000_000


@needs_root
@pytest.mark.parametrize("name", NAMESPACES)
def test_each_kind_of_namespace_is_new_inside(name):
    offsets = {"monotonic": 86400} if name == "time" else None
    result = run(["readlink", f"/proc/self/ns/{NS_LINKS[name]}"], unshare=[name], time_offsets=offsets)
    inode = int(result.check().stdout.partition("[")[2].rstrip("]\n"))
    assert inode != proc.namespaces()[name]
    others = [n for n in NAMESPACES if n != name]
    with start(["sleep", "60"], unshare=[name]) as process:
        there, here = proc.namespaces(process.pid), proc.namespaces()
        assert [n for n in others if there[n] != here[n]] == []


@needs_root
def test_all_eight_at_once():
    with start(["sleep", "60"], unshare=NAMESPACES, hostname="deep", mounts=[Mount.proc()]) as process:
        there, here = proc.namespaces(process.pid), proc.namespaces()
        assert all(there[name] != here[name] for name in NAMESPACES)


@needs_root
def test_the_clock_is_shifted():
    uptime = run(
        ["cat", "/proc/uptime"], unshare=["time"], time_offsets={"boottime": 1_000_000}
    ).stdout.split()[0]
    assert float(uptime) - time.clock_gettime(time.CLOCK_BOOTTIME) > 999_000


@needs_root
def test_a_fresh_proc_shows_the_new_pid_namespace_only():
    seen = run(["sh", "-c", "echo /proc/[0-9]*"], unshare=["pid", "mount"], mounts=[Mount.proc()])
    assert seen.stdout == "/proc/1\n"


@needs_root
def test_entering_namespaces_of_another_process():
    with start(["sleep", "60"], unshare=["uts", "pid", "network"], hostname="host", loopback=True) as there:
        join = dict.fromkeys(("uts", "pid", "network"), there.pid)
        assert (
            run(["sh", "-c", "hostname; echo $$; cat /sys/class/net/lo/flags"], join=join)
            .check()
            .stdout.split()[0]
            == "host"
        )
        with start(["sleep", "60"], join=join) as second:
            assert proc.namespaces(second.pid) == proc.namespaces(there.pid)
            assert proc.status(second.pid)["NSpid"].split()[-1] != str(second.pid)


@needs_root
def test_loopback_is_down_until_switched_on():
    assert "DOWN" in run(["ip", "-br", "link"], unshare=["network"]).stdout
    assert "UP" in run(["ip", "-br", "link"], unshare=["network"], loopback=True).stdout


@needs_root
def test_root_inside_and_an_ordinary_user_outside():
    with start(
        ["sleep", "60"], unshare=["user"], uid_map=[(0, 100_000, 1000)], gid_map=[(0, 200_000, 1000)]
    ) as process:
        assert psutil.Process(process.pid).uids().real == 100_000
        assert psutil.Process(process.pid).gids().real == 200_000
        assert proc.uid_map(process.pid) == [(0, 100_000, 1000)]
        assert proc.gid_map(process.pid) == [(0, 200_000, 1000)]
    assert (
        run(["id", "-u"], unshare=["user"], uid_map=[(0, 100_000, 1)], gid_map=[(0, 100_000, 1)]).stdout
        == "0\n"
    )
    assert run(["id", "-u"], unshare=["user"], uid_map=[(7, 100_000, 1)]).stdout == "65534\n"


@needs_root
@pytest.mark.needs("busybox")
def test_a_root_of_its_own(tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "proc").mkdir()
    (tmp_path / "bin/sh").write_bytes(Path("/bin/busybox").read_bytes())
    (tmp_path / "bin/sh").chmod(0o755)
    os.symlink("sh", tmp_path / "bin/busybox")
    result = run(
        ["busybox", "sh", "-c", "busybox ls /; busybox cat /proc/self/mountinfo; busybox pwd"],
        unshare=["mount", "pid"], root=str(tmp_path), mounts=[Mount.proc()], env={"PATH": "/bin"},
    )  # fmt: skip
    lines = result.check().stdout.splitlines()
    assert lines[:2] == ["bin", "proc"]
    assert [line.split()[4] for line in lines[2:-1]] == ["/", "/proc"]  # nothing of the old root is left
    assert lines[-1] == "/"


@needs_root
def test_mounts_stay_inside(tmp_path):
    result = run(["sh", "-c", f"echo hidden > {tmp_path}/file; ls {tmp_path}"], unshare=["mount"],
                 mounts=[Mount("tmpfs", str(tmp_path), "tmpfs")])  # fmt: skip
    assert result.stdout == "file\n"
    assert list(tmp_path.iterdir()) == []


@needs_root
def test_capabilities_are_dropped_for_good():
    result = run(["grep", "^Cap", "/proc/self/status"], drop_capabilities=["CAP_NET_RAW", "sys_admin"])
    masks = {line.split(":")[0]: int(line.split()[1], 16) for line in result.stdout.splitlines()}
    for name in ("CapPrm", "CapEff", "CapBnd"):
        assert not masks[name] & (1 << 13 | 1 << 21)
    assert masks["CapEff"] & 1


@needs_root
def test_user_and_no_new_privs():
    result = run(
        ["grep", "-E", "^(Uid|Groups|NoNewPrivs|CapEff)", "/proc/self/status"],
        user=(65534, 65534),
        no_new_privs=True,
    )
    seen = {line.split(":")[0]: line.split(":")[1].split() for line in result.stdout.splitlines()}
    assert seen == {"Uid": ["65534"] * 4, "Groups": [], "NoNewPrivs": ["1"], "CapEff": ["0" * 16]}


def test_a_umask_of_its_own():
    assert run(["sh", "-c", "umask"], umask=0o027).stdout == "0027\n"


@pytest.mark.needs("root")
def test_supplementary_groups_go_with_a_user():
    result = run(["id", "-G"], user=(65534, 65534), groups=[20, 1000])
    assert sorted(result.stdout.split(), key=int) == ["20", "1000", "65534"]
    with pytest.raises(ValueError, match="user"):
        run(["true"], groups=[20])


def test_a_seccomp_filter_refuses_one_call():
    mkdir = {"x86_64": [83, 258], "aarch64": [34]}[os.uname().machine]  # mkdir, mkdirat
    refused = run(["mkdir", "/tmp/never-made"], seccomp=seccomp.deny(mkdir, errno.EPERM))
    assert refused.returncode == 1 and "Operation not permitted" in refused.stderr
    assert run(["true"], seccomp=seccomp.deny(mkdir, errno.EPERM)).returncode == 0


def test_python_s_ignored_signals_are_not_passed_on():
    ignored = int(run(["grep", "^SigIgn", "/proc/self/status"]).stdout.split()[1], 16)
    blocked = int(run(["grep", "^SigBlk", "/proc/self/status"]).stdout.split()[1], 16)
    assert not ignored & (1 << signal.SIGPIPE - 1 | 1 << signal.SIGXFSZ - 1 | 1 << signal.SIGINT - 1)
    assert blocked == 0


def test_no_descriptor_leaks_in_or_out():
    assert run(["ls", "/proc/self/fd"]).stdout.split() == [
        "0",
        "1",
        "2",
        "3",
    ]  # 3 is ls reading the directory
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        run(["true"])
        with pytest.raises(KernelError):
            run(["no such program"])
    assert len(os.listdir("/proc/self/fd")) == before


REFUSED = [
    ({"argv": ["/no/such/program"]}, "exec /no/such/program", "ENOENT"),
    ({"argv": ["/etc/passwd"]}, "exec /etc/passwd", "EACCES"),
    ({"argv": ["true"], "join": {"uts": 4_000_000}}, "open the uts namespace", "ENOENT"),
    ({"argv": ["true"], "cgroups": ["/sys/fs/cgroup/nothing-here"]}, "enter the control group", "ENOENT"),
    ({"argv": ["true"], "cwd": "/no/such/place"}, "change directory", "ENOENT"),
]
REFUSED_TO_ROOT = [
    ({"unshare": ["uts"], "hostname": "x" * 65}, "set the host name", "EINVAL"),
    ({"unshare": ["mount"], "root": "/no/root"}, "pivot_root", "ENOENT"),
    ({"unshare": ["mount"], "mounts": [Mount("x", "/mnt", "nofs")]}, "mount nofs", "ENODEV"),
    ({"unshare": ["user"], "uid_map": [(0, 0, 0)]}, "write the id maps", "EINVAL"),
    ({"unshare": ["time"], "time_offsets": {"boottime": -(10**9)}}, "set the clock", "ERANGE"),
]


@pytest.mark.parametrize(("how", "step", "name"), REFUSED)
def test_a_refused_step_is_named_with_errno_and_remedy(how, step, name):
    with pytest.raises(KernelError) as caught:
        run(**how)
    assert step in str(caught.value) and caught.value.errno_name == name and caught.value.remedy


@needs_root
@pytest.mark.parametrize(("how", "step", "name"), REFUSED_TO_ROOT)
def test_a_step_refused_even_to_root(how, step, name):
    test_a_refused_step_is_named_with_errno_and_remedy({"argv": ["true"], **how}, step, name)


def test_bad_words_are_refused_before_anything_starts():
    with pytest.raises(ValueError, match="no namespace is called 'pdi'"):
        start(["true"], unshare=["pdi"])
    with pytest.raises(ValueError, match="no capability is called"):
        start(["true"], drop_capabilities=["CAP_FLY"])
    with pytest.raises(ValueError, match="list of words"):
        start("true")
    with pytest.raises(ValueError, match="add 'time' to unshare"):
        start(["true"], time_offsets={"boottime": 1})
    with pytest.raises(ValueError, match="'A=B' can't name an environment variable"):
        start(["true"], env={"A=B": "c"})


def test_dropping_the_object_kills_the_process():
    process = start(["sleep", "60"])
    pid = process.pid
    del process
    until(lambda: not psutil.pid_exists(pid))


def test_closing_ends_background_children_too():
    with start(["sh", "-c", "sleep 60 & echo $!; exit 0"], stdout=PIPE) as process:
        orphan = int(process.stdout.readline())
        assert process.wait(10) == 0
        assert psutil.Process(orphan).ppid() == spawn.helper_pid()
    assert not psutil.pid_exists(orphan)


def test_many_threads_at_once():
    results: list[str] = []

    def work(number: int) -> None:
        for i in range(5):
            results.append(run(["echo", f"{number}.{i}"]).stdout.strip())

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == sorted(f"{n}.{i}" for n in range(8) for i in range(5))


def test_an_interrupt_while_starting_leaves_no_process_and_no_confusion():
    """The main thread may be interrupted anywhere, here again and again in the middle of a start."""
    marker = f"60.{os.getpid()}"
    hits = 0

    def interrupt(*_):
        raise KeyboardInterrupt

    old = signal.signal(signal.SIGALRM, interrupt)
    try:
        for i in range(60):
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.0002 + i * 0.00005)
                start(["sleep", marker], stdout=DEVNULL).close()
                signal.setitimer(signal.ITIMER_REAL, 0)
            except KeyboardInterrupt:
                hits += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    assert hits > 0
    assert run(["echo", "still in step"]).stdout == "still in step\n"
    until(lambda: not [p for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"] == ["sleep", marker]])


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_the_program_s_death_ends_all_that_it_started(number):
    code = (
        "from kit.linux.spawn import start, helper_pid\n"
        "a = start(['sleep', '60']); b = start(['sh', '-c', 'sleep 60 & sleep 60'])\n"
        "print(helper_pid(), a.pid, b.pid, flush=True); import time; time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=DEVNULL, cwd=ROOT
    ) as program:
        pids = [int(word) for word in program.stdout.readline().split()]
        until(lambda: len(psutil.Process(pids[2]).children()) == 2)
        pids += [child.pid for child in psutil.Process(pids[2]).children()]
        program.send_signal(number)
        program.wait()
    until(lambda: not any(psutil.pid_exists(pid) for pid in pids))


def test_the_helper_s_death_is_told_and_mended():
    process = start(["sleep", "60"])
    os.kill(spawn.helper_pid(), signal.SIGKILL)
    until(lambda: not psutil.pid_exists(process.pid))
    with pytest.raises(RuntimeError, match="helper process has ended"):
        process.wait(10)
    process.close()
    assert run(["echo", "again"]).stdout == "again\n"


def test_time_limits():
    with pytest.raises(TimeoutError, match="still"):
        run(["sleep", "60"], timeout=0.1)
    with start(["sleep", "60"]) as process, pytest.raises(TimeoutError, match="still running"):
        process.wait(0.05)


def test_a_program_that_never_stops_talking_meets_its_time_limit():
    with pytest.raises(TimeoutError):
        run(["yes"], timeout=0.2)


MISTAKES = [
    ({"uid_map": [(0, 0)]}, ValueError),
    ({"user": (-1, -1)}, ValueError),  # setresuid(2) would leave all as it is
    ({"user": (1 << 40, 0)}, ValueError),
    ({"cgroups": ["a\0b"]}, ValueError),
    ({"env": {"A": "b\0c"}}, ValueError),
    ({"cwd": 3}, TypeError),
    ({"no_new_privs": object()}, TypeError),
]


@pytest.mark.parametrize(("how", "error"), MISTAKES)
def test_a_mistake_is_told_and_harms_no_other_process(how, error):
    with start(["sleep", "60"]) as bystander:
        descriptors = len(os.listdir("/proc/self/fd"))
        with pytest.raises(error):
            start(["true"], unshare=["user"], stdin=PIPE, stdout=PIPE, **how)
        assert len(os.listdir("/proc/self/fd")) == descriptors
        assert bystander.poll() is None
        assert run(["echo", Path("/bin"), b"bytes"]).stdout == "/bin bytes\n"


def test_nothing_stays_open_when_a_descriptor_or_a_door_is_shut():
    run(["true"])
    descriptors = len(os.listdir("/proc/self/fd"))
    for how in ({"stdin": PIPE, "stderr": 9999}, {"stdin": PIPE, "join": {"network": 1 << 22}}):
        with pytest.raises(OSError):
            start(["true"], **how)
    assert len(os.listdir("/proc/self/fd")) == descriptors


@needs_root
def test_a_kind_named_twice_is_made_once():
    inside = run(
        ["readlink", "/proc/self/ns/uts", "/proc/self/ns/ipc"], unshare=["uts", "uts"]
    ).stdout.split()
    assert inside[0] != os.readlink("/proc/self/ns/uts")
    assert inside[1] == os.readlink("/proc/self/ns/ipc")


def test_daemons_that_have_ended_are_reaped():
    daemon = int(run(["sh", "-c", "setsid sleep 0.05 >/dev/null 2>&1 & echo $!"]).stdout)
    until(lambda: run(["true"]) and not psutil.pid_exists(daemon))


FORKED = """
import os, sys
from kit.linux.spawn import run, start
parent = start(["sleep", "60"])
if os.fork() == 0:
    parent.close()
    print(run(["echo", "a helper of its own"]), end="", flush=True)
    sys.exit()
os.wait()
print(parent.poll())
parent.close()
"""


def test_a_forked_copy_has_a_helper_of_its_own_and_leaves_its_parent_s_alone():
    done = subprocess.run(
        [sys.executable, "-c", FORKED], cwd=ROOT, capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout == "a helper of its own\nNone\n"
