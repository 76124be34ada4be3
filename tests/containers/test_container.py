"""A container: what runs in it sees only its own, ends as it ended, and is led from outside."""

from __future__ import annotations

import errno
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from kit import containers
from kit.containers import BadConfig
from kit.linux import capabilities
from kit.linux.errors import KernelError

pytestmark = pytest.mark.needs("root", "busybox")


def read_until(fd: int, end: str) -> str:
    text = ""
    while end not in text:
        text += os.read(fd, 4096).decode()
    return text


def within(seconds: float, holds: Any) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_it_is_alone(box: Any) -> None:
    said = box.run("hostname; id -u; echo $HOME $HOSTNAME; ps; ls /proc/self/fd | wc -l", hostname="box")
    assert said.split("\n")[:3] == ["box", "0", "/root box"]
    assert "    1 root" in said and "python" not in said
    assert said.split()[-1] == "4"  # standard input, output, error, and the directory that ls has open


@pytest.mark.parametrize(
    ("command", "status"), [("exit 7", 7), ("kill -TERM $$", 0), ("ulimit -c 0; sleep 60", 137)]
)
def test_the_status_is_a_shells(box: Any, command: str, status: int) -> None:
    container = box.start(command)
    if status == 137:
        container.kill()
    elif status == 0:  # process 1 gets no signal that it did not ask for
        assert container.wait(10) == 0
    assert container.wait(10) == status
    assert container.poll() == status
    container.kill()  # nobody is there any more


def test_a_program_that_is_missing_is_told_before_anything_stays(box: Any) -> None:
    with pytest.raises(KernelError, match="exec nothing") as refused:
        box.start(["nothing"])
    assert refused.value.errno == errno.ENOENT
    (box.root / "text").write_text("no program")
    with pytest.raises(KernelError) as refused:
        box.start(["/text"])
    assert refused.value.errno == errno.EACCES
    (box.root / "text").chmod(0o755)
    for tty in (False, True):
        with pytest.raises(KernelError) as refused:
            box.start(["/text"], tty=tty)
        assert refused.value.errno == errno.ENOEXEC
    held = box.start(["/text"], {"hold": True})
    with pytest.raises(KernelError, match="exec /text"):
        held.start()


def test_held_it_is_complete_and_waits(box: Any) -> None:
    container = box.start("exit 3", {"hold": True})
    assert container.poll() is None
    assert Path(f"/proc/{container.pid}/ns/net").exists()
    with pytest.raises(KernelError):
        box.start(["nothing"], {"hold": True})
    with pytest.raises(BadConfig, match="already"):
        containers.start(container.id, container.config, box.root)
    container.start()
    assert container.wait(10) == 3
    with pytest.raises(BadConfig, match="already"):
        container.start()
    held = box.start("true", {"hold": True})
    held.close()
    assert held.poll() == 137


def test_exec_joins_it_and_is_no_freer(box: Any) -> None:
    container = box.start("sleep 60", hostname="one", memory=64 << 20, env=["A=1"])
    read, write = os.pipe()
    script = "hostname; echo $A $$; grep -E 'CapEff|Seccomp:|NoNew' /proc/self/status; exit 4"
    run = container.exec({"args": ["sh", "-c", script]}, stdout=write, stderr=write)
    os.close(write)
    assert run.wait(10) == 4
    said = os.read(read, 4096).decode().split()
    os.close(read)
    assert said[:2] == ["one", "1"] and int(said[2]) > 1
    assert said[3:] == ["CapEff:", "00000000a80425fb", "NoNewPrivs:", "0", "Seccomp:", "2"]
    sleeper = container.exec({"args": ["sleep", "60"]})
    assert {container.pid, sleeper.pid} <= set(container.pids())
    container.kill()
    assert container.wait(10) == 137  # though nobody has waited for the other
    assert sleeper.wait(10) == 137
    with pytest.raises(KernelError, match="does not run"):
        container.exec({"args": ["true"]})


def test_exec_says_what_it_cannot(box: Any) -> None:
    container = box.start("sleep 60")
    with pytest.raises(KernelError, match="exec nothing"):
        container.exec({"args": ["nothing"]})
    with pytest.raises(BadConfig, match="a list of words"):
        container.exec({"args": []})
    container.pause()
    with pytest.raises(KernelError, match="paused"):
        container.exec({"args": ["true"]})
    container.resume()
    assert container.exec({"args": ["true"]}).wait(10) == 0


def test_a_terminal_of_its_own(box: Any) -> None:
    container = box.start(
        "tty; stty size; ls -l /dev/console; read a; stty size; exit 5", {"size": (40, 100)}, tty=True
    )
    assert "/dev/pts/0\r\n40 100\r\ncrw" in read_until(container.master, "console")
    container.resize(24, 80)
    os.write(container.master, b"\n")
    assert "24 80" in read_until(container.master, "24 80")
    assert container.wait(10) == 5


def test_the_terminal_interrupts(box: Any) -> None:
    container = box.start("trap 'echo got it; exit 6' INT; echo ready; while :; do sleep 1; done", tty=True)
    read_until(container.master, "ready")
    os.write(container.master, b"\x03")
    read_until(container.master, "got it")
    assert container.wait(10) == 6


def test_exec_with_a_terminal(box: Any) -> None:
    container = box.start("sleep 60")
    run = container.exec({"args": ["sh", "-c", "tty; stty size"]}, tty=True, size=(30, 90))
    assert "/dev/pts/0\r\n30 90" in read_until(run.master, "30 90")
    assert run.wait(10) == 0


def test_pause_and_resume(box: Any) -> None:
    container = box.start("i=0; while :; do i=$((i+1)); echo $i > /tmp/i; done")
    count = box.root / "tmp/i"
    within(10, count.exists)
    container.pause()
    stood = count.read_text()
    time.sleep(0.1)
    assert count.read_text() == stood
    container.resume()
    within(10, lambda: count.read_text() != stood)


def test_signals_reach_the_first_or_everyone(box: Any) -> None:
    container = box.start("trap 'exit 9' USR1; sleep 60 & while :; do wait; done")
    within(10, lambda: len(container.pids()) == 2)
    with pytest.raises(KernelError, match="signal 99"):
        container.kill(99)
    container.kill(signal.SIGUSR1)
    assert container.wait(10) == 9
    everyone = box.start("trap : TERM; sleep 60; exit 8")
    within(
        10, lambda: any(Path(f"/proc/{pid}/comm").read_text().strip() == "sleep" for pid in everyone.pids())
    )
    everyone.kill(signal.SIGTERM, everyone=True)
    assert everyone.wait(10) == 8


def test_limits_hold_and_change(box: Any) -> None:
    options = {"memory": 32 << 20, "cpus": 0.5, "pids_limit": 20, "cpu_shares": 512}
    container = box.start("sleep 60", **options)
    group = container.group
    assert group["memory.max"] == 32 << 20 and group["cpu.max"] == (50_000, 100_000)
    assert group["pids.max"] == 20 and group["cpu.weight"] == 50
    container.update({"memory": {"limit": 64 << 20}, "pids": {"limit": -1}})
    assert group["memory.max"] == 64 << 20 and group["pids.max"] == "max"
    stats = container.stats()
    assert stats["pids"] == 1 and stats["memory_limit_bytes"] == 64 << 20 and stats["memory_bytes"] > 0
    with pytest.raises(BadConfig, match="kernelTCP"):
        container.update({"memory": {"kernelTCP": 1}})


def test_out_of_memory_is_noticed(box: Any) -> None:
    container = box.start("x=x; while :; do x=$x$x; done", memory=16 << 20)
    assert container.wait(30) == 137
    assert container.oom_killed
    container.close()
    assert container.oom_killed
    calm = box.start("true")
    calm.wait(10)
    assert not calm.oom_killed


def test_init_passes_signals_on_and_reaps(box: Any) -> None:
    script = "trap 'exit 11' TERM; (sleep 0.1 &); echo ready; while :; do sleep 0.05; done"
    read, write = os.pipe()
    container = box.start(script, {"stdout": write}, init=True)
    os.close(write)
    read_until(read, "ready")
    os.close(read)
    within(10, lambda: "Z" not in states(container.pids()))
    container.kill(signal.SIGTERM)
    assert container.wait(10) == 11
    said = box.run(
        "ls /proc/1/fd; readlink /proc/1/exe || echo hidden; tr -d '\\0' < /proc/1/cmdline", init=True
    )
    assert said == "0\n1\n2\nhidden\ninit"
    assert box.run("kill -9 $$", init=True) == "" and box.status == 137


def states(pids: list[int]) -> str:
    found = ""
    for pid in pids:
        try:
            found += Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def test_a_user_by_name_with_no_rights(box: Any) -> None:
    (box.root / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n")
    (box.root / "etc/group").write_text("app:x:1001:\nextra:x:1002:app\n")
    said = box.run("id; echo $HOME; grep CapEff /proc/self/status", user="app")
    assert said.split() == [
        "uid=1000(app)",
        "gid=1001(app)",
        "groups=1002(extra)",
        "/home/app",
        "CapEff:",
        "0" * 16,
    ]
    with pytest.raises(BadConfig, match="no user 'nobody'"):
        box.run("id", user="nobody")


def test_mounts(box: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("from outside")
    mounts = [(str(tmp_path), "/data/deep", "ro"), (str(tmp_path / "file"), "/etc/file", "rw")]
    said = box.run(
        "cd /data/deep; cat file /etc/file; touch ./x /x /run/y; df -m /run |tail -n1; echo in >/etc/file",
        mounts=mounts,
        tmpfs={"/run": "size=2m"},
    )
    assert said.startswith("from outsidefrom outside") and "./x: Read-only" in said
    assert (box.root / "x").exists() and not (box.root / "run/y").exists()
    assert said.split()[-5] == "2" and (tmp_path / "file").read_text() == "in\n"
    script = "cp /bin/busybox /run/echo; /run/echo runs"
    assert "runs\n" in box.run(script, tmpfs={"/run": "exec"})
    assert "Permission denied" in box.run(script, tmpfs={"/run": ""})
    said = box.run("touch /x2; touch /tmp/y && echo wrote", read_only=True, tmpfs={"/tmp": ""})
    assert "Read-only file system" in said and "wrote" in said


def test_limits_sysctls_devices_and_score(box: Any) -> None:
    script = "ulimit -n; cd /proc; cat sys/net/ipv4/ip_local_reserved_ports self/oom_score_adj; ls -l /dev/lo"
    said = box.run(
        script,
        ulimits={"nofile": (100, 200)},
        sysctls={"net.ipv4.ip_local_reserved_ports": "80"},
        devices=[("/dev/null", "/dev/lo", "rwm")],
        oom_score_adj=500,
    ).split()
    assert said[:3] == ["100", "80", "500"] and said[3].startswith("crw") and said[7:9] == ["1,", "3"]


def test_namespaces_of_others(box: Any) -> None:
    first = box.start("sleep 60", hostname="first")
    net = f"/proc/{first.pid}/ns/net"
    assert box.run("readlink /proc/self/ns/net", network=net).strip() == os.readlink(net)
    said = box.run("readlink /proc/self/ns/net; hostname", network="host", uts="host", ipc="host").split()
    assert said == [os.readlink("/proc/self/ns/net"), os.uname().nodename]
    assert "sleep 60" in box.run("ps", pid=f"/proc/{first.pid}/ns/pid")


def test_privileged_has_it_all(box: Any) -> None:
    said = box.run(
        "grep -E 'CapEff|Seccomp:' /proc/self/status; mount -t tmpfs x /tmp && ls /dev | wc -l",
        privileged=True,
    )
    assert said.split()[:4] == ["CapEff:", f"{capabilities.get()[1]:016x}", "Seccomp:", "0"]
    assert int(said.split()[-1]) > 20


def test_an_environment_of_the_image(box: Any) -> None:
    image = {
        "config": {
            "Env": ["PATH=/bin", "B=2"],
            "Entrypoint": ["sh", "-c"],
            "Cmd": ["pwd; env"],
            "WorkingDir": "/new/dir",
        }
    }
    made = containers.config(image, root=box.root, env=["B=3"])
    assert made["process"]["args"] == ["sh", "-c", "pwd; env"] and "B=3" in made["process"]["env"]
    assert made["process"]["cwd"] == "/new/dir"
    assert containers.config(image, root=box.root, entrypoint=["ls"])["process"]["args"] == ["ls"]
    assert containers.config(image, root=box.root, cmd=["x"])["process"]["args"] == ["sh", "-c", "x"]
