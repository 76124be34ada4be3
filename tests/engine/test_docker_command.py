"""The real docker command drives the engine: what it is asked for happens, and what it prints is true."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import struct
import subprocess
import termios
import time
import urllib.request
from pathlib import Path

import pytest

from kit.engine import Engine, serve
from kit.registries.server import serve as registry
from tests.engine.conftest import Docker

pytestmark = pytest.mark.needs("root", "docker")
LOOP = "while :; do date; sleep 0.1; done"


def typed(docker: Docker, words: list[str], text: bytes) -> tuple[str, int]:
    """What a terminal of 30 by 100 shows when ``text`` is typed after the prompt; and the exit status."""
    pid, fd = pty.fork()
    if pid == 0:
        os.execvpe("docker", ["docker", *words], docker.env)
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    shown, waiting = b"", True
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and select.select([fd], [], [], 20)[0]:
        try:
            shown += os.read(fd, 4096)
        except OSError:
            break
        if waiting and b"# " in shown:
            time.sleep(0.3)  # the client has told the size by then
            os.write(fd, text)
            waiting = False
    os.close(fd)
    return shown.decode(), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def until(what: str, docker: Docker, *words: str) -> None:
    for _ in range(100):
        if what in docker.run(*words).stdout:
            return
        time.sleep(0.05)
    pytest.fail(f"{what} never in docker {' '.join(words)}: {docker.run(*words)}")


def test_version_and_info(docker: Docker) -> None:
    assert docker("version", "--format", "{{.Server.APIVersion}}") == "1.44"
    assert docker("info", "--format", "{{.Driver}} {{.Images}}") == "overlay 1"


def test_hello_world_comes_from_the_hub(root: Path, tmp_path: Path) -> None:
    with registry(tmp_path / "hub", seed=True) as hub, serve(tmp_path / "s", root, registry_mirror=hub.url):
        done = Docker(tmp_path / "s", tmp_path).run("run", "hello-world")
        assert done.returncode == 0
        assert "Unable to find image 'hello-world:latest' locally" in done.stderr
        assert "Status: Downloaded newer image for hello-world:latest" in done.stderr
        assert "reached you from inside a container" in done.stdout
        again = Docker(tmp_path / "s", tmp_path)("pull", "hello-world")
        assert "Image is up to date for hello-world:latest" in again


def test_push_to_a_registry(docker: Docker, tmp_path: Path) -> None:
    with registry(tmp_path / "hub") as hub:
        name = f"{hub.address}/a/img:1"
        docker("tag", "busybox", name)
        assert docker("images", f"{hub.address}/a/img", "--format", "{{.Tag}}") == "1"
        assert "1: digest: sha256:" in docker("push", name)
        docker("rmi", name)
        assert "Downloaded newer image" in docker("pull", name)
        gone = docker.run("pull", f"{hub.address}/none:1")
        assert gone.returncode == 1 and "MANIFEST_UNKNOWN" in gone.stderr.upper() + gone.stdout.upper()


def test_a_registry_that_wants_a_login(docker: Docker, tmp_path: Path) -> None:
    import bcrypt

    users = tmp_path / "htpasswd"
    users.write_bytes(b"ann:" + bcrypt.hashpw(b"secret", bcrypt.gensalt(4)) + b"\n")
    with registry(tmp_path / "hub", htpasswd=users) as hub:
        name = f"{hub.address}/img:1"
        docker("tag", "busybox", name)
        assert docker.run("push", name).returncode == 1
        wrong = docker.run("login", "-u", "ann", "--password-stdin", hub.address, input="wrong")
        assert wrong.returncode == 1 and "does not take" in wrong.stderr
        assert "Login Succeeded" in docker(
            "login", "-u", "ann", "--password-stdin", hub.address, input="secret"
        )
        assert "digest: sha256:" in docker("push", name)


@pytest.mark.needs("docker-compose")
def test_compose(docker: Docker, tmp_path: Path) -> None:
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "Dockerfile").write_text("FROM busybox\nRUN mkdir /w && echo page > /w/index.html\n")
    (tmp_path / "docker-compose.yml").write_text(
        """
version: "3"
services:
  db: {image: busybox, command: sleep 100, volumes: ["data:/data"]}
  web: {build: web, command: httpd -f -h /w, depends_on: [db]}
  ask: {image: busybox, command: sh -c 'sleep 1; wget -qO- web; ping -c1 db', depends_on: [web]}
volumes: {data: {}}
"""
    )

    def compose(*words: str) -> str:
        command = ["docker-compose", "-p", "three", *words]
        done = subprocess.run(
            command, cwd=tmp_path, env=docker.env, capture_output=True, text=True, timeout=100
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    compose("up", "-d")
    docker("wait", "three_ask_1")
    assert "page" in (logs := compose("logs", "--no-color")) and "1 packets received" in logs
    assert compose("ps").count(" Up ") == 2
    assert compose("exec", "-T", "web", "cat", "/w/index.html") == "page\n"
    compose("down", "-v", "-t", "0")
    assert docker("ps", "-aq") == "" and docker("volume", "ls", "-q") == ""


def test_a_hundred_in_a_row(docker: Docker, engine: Engine) -> None:
    for _ in range(100):
        assert docker("run", "--rm", "--network", "none", "busybox", "echo", "x") == "x"
    engine.close()  # until then it may be at the last one's files
    assert engine.containers == [] and list((engine.root / "containers").iterdir()) == []


def test_streams_and_exit_status(docker: Docker) -> None:
    done = docker.run("run", "--rm", "busybox", "sh", "-c", "echo o; echo e >&2; exit 7")
    assert (done.stdout, done.stderr, done.returncode) == ("o\n", "e\n", 7)
    assert docker("run", "--rm", "-i", "busybox", "cat", input="in\n" * 100_000) == ("in\n" * 100_000).strip()
    assert docker.run("run", "--rm", "busybox", "nosuch").returncode == 127
    assert docker.run("run", "--rm", "busybox", "/etc").returncode == 126
    assert docker("ps", "-aq") == ""


def test_a_terminal(docker: Docker) -> None:
    shown, status = typed(docker, ["run", "-it", "--rm", "busybox"], b"stty size; tty; exit 5\n")
    assert "30 100" in shown and "/dev/pts/0" in shown and status == 5
    docker("run", "-d", "--name", "cc", "busybox", "sleep", "100")
    shown, status = typed(docker, ["exec", "-it", "cc", "sh"], b"stty size; exit 4\n")
    assert "30 100" in shown and status == 4


def test_detached_and_attached_again(docker: Docker) -> None:
    shown, status = typed(docker, ["run", "-it", "--name", "cc", "busybox"], b"x=kept\n\x10\x11")
    assert status == 0 and docker("ps", "--format", "{{.Names}}") == "cc"
    pid, fd = pty.fork()
    if pid == 0:
        os.execvpe("docker", ["docker", "attach", "cc"], docker.env)
    time.sleep(0.5)
    os.write(fd, b"echo $x; exit 6\n")
    shown = b""
    while select.select([fd], [], [], 20)[0]:
        try:
            shown += os.read(fd, 4096)
        except OSError:
            break
    os.close(fd)
    assert b"kept" in shown and os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 6


def test_limits_are_written(docker: Docker) -> None:
    docker(
        "run",
        "-d",
        "--name",
        "cc",
        "-m",
        "32m",
        "--cpus",
        "0.5",
        "--pids-limit",
        "20",
        "busybox",
        "sleep",
        "100",
    )
    assert "32MiB" in docker("stats", "--no-stream", "cc")
    docker("update", "--cpus", "0.25", "--pids-limit", "30", "cc")
    told = json.loads(docker("inspect", "cc"))[0]
    assert told["HostConfig"]["NanoCpus"] == 250_000_000 and told["HostConfig"]["PidsLimit"] == 30
    bomb = docker.run(
        "exec", "cc", "sh", "-c", "i=0; while [ $i -lt 40 ]; do sleep 5 & i=$((i+1)); done; wait"
    )
    assert "can't fork" in bomb.stderr


def test_options_are_seen_inside(docker: Docker) -> None:
    words = [
        "--read-only",
        "--tmpfs",
        "/t",
        "-e",
        "A=b",
        "-w",
        "/t",
        "-u",
        "7:8",
        "--hostname",
        "h",
        "--ulimit",
    ]
    inside = "echo $A; pwd; id -u; id -g; hostname; ulimit -n; touch /x; touch /t/x && echo ok"
    done = docker.run("run", "--rm", *words, "nofile=99", "busybox", "sh", "-c", inside)
    assert done.stdout.split() == ["b", "/t", "7", "8", "h", "99", "ok"]
    assert "Read-only file system" in done.stderr


def test_life(docker: Docker) -> None:
    container = docker("run", "-d", "--name", "c1", "-l", "l=1", "busybox", "sh", "-c", LOOP)
    assert docker("ps", "--format", "{{.Names}} {{.State}}") == "c1 running"
    assert docker("exec", "c1", "echo", "hi") == "hi"
    assert docker.run("exec", "c1", "sh", "-c", "exit 3").returncode == 3
    assert docker.run("exec", "c1", "/nonexistent").returncode in (126, 127)
    inside = ["c1", "sh", "-c", "id -u; pwd; echo $X"]
    assert docker("exec", "-u", "5", "-e", "X=y", "-w", "/tmp", *inside).split() == ["5", "/tmp", "y"]
    docker("pause", "c1")
    assert "(Paused)" in docker("ps")
    docker("unpause", "c1")
    docker("update", "--memory", "64m", "--memory-swap", "64m", "c1")
    assert "64MiB" in docker("stats", "--no-stream", "c1")
    assert "sh -c" in docker("top", "c1")
    docker("rename", "c1", "c2")
    assert docker("ps", "--filter", "label=l=1", "--filter", "name=c2", "--no-trunc", "-q") == container
    waiting = subprocess.Popen(["docker", "wait", "c2"], env=docker.env, stdout=subprocess.PIPE, text=True)
    time.sleep(0.3)
    docker("stop", "-t", "0", "c2")
    assert waiting.communicate(timeout=20)[0].strip() == "137"
    assert "is not running" in docker.run("kill", "c2").stderr
    docker("start", "c2")
    docker("restart", "-t", "0", "c2")
    assert "already in use" in docker.run("create", "--name", "c2", "busybox").stderr
    assert "cannot remove a running container" in docker.run("rm", "c2").stderr
    docker("rm", "-f", "c2")
    assert docker("ps", "-aq") == ""


def test_logs(docker: Docker) -> None:
    docker(
        "run",
        "-d",
        "--name",
        "cc",
        "busybox",
        "sh",
        "-c",
        "for i in 1 2 3; do echo $i; sleep 0.2; done; printf end >&2",
    )
    followed = docker.run("logs", "-f", "cc")
    assert (followed.stdout, followed.stderr) == ("1\n2\n3\n", "end")
    assert docker("logs", "--tail", "2", "cc") == "3"
    stamped = docker("logs", "-t", "cc").split("\n")[0]
    assert stamped.endswith("Z 1") and docker("logs", "--since", stamped.split()[0], "--tail", "1", "cc") in (
        "3",
        "",
    )


def test_a_flood_is_rotated(docker: Docker, root: Path) -> None:
    words = ["--log-opt", "max-size=100k", "--log-opt", "max-file=2", "--name", "cc", "busybox"]
    docker("run", "-d", *words, "sh", "-c", "yes | head -100000; echo last")
    docker("wait", "cc")
    files = list(root.glob("containers/*/*-json.log*"))
    assert len(files) == 2 and sum(file.stat().st_size for file in files) < 2_000_000
    assert docker("logs", "--tail", "1", "cc") == "last"


def test_files_go_in_and_out(docker: Docker, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("data")
    docker("run", "-d", "--name", "cc", "-v", "vv:/v", "busybox", "sleep", "100")
    for target in ("cc:/tmp/f", "cc:/v/g"):
        docker("cp", str(tmp_path / "f"), target)
        docker("cp", target, str(tmp_path / "back"))
        assert (tmp_path / "back").read_text() == "data"
    docker("cp", "cc:/etc", str(tmp_path / "etc"))
    assert "root" in (tmp_path / "etc" / "passwd").read_text()
    (tmp_path / "some").mkdir()
    docker("cp", "cc:/etc/.", str(tmp_path / "some"))
    assert (tmp_path / "some" / "passwd").exists()
    docker("exec", "cc", "rm", "/etc/group")
    assert docker("diff", "cc").split("\n") == ["C /etc", "D /etc/group", "C /tmp", "A /tmp/f", "A /v"]
    docker("stop", "-t", "0", "cc")
    docker("cp", "cc:/tmp/f", str(tmp_path / "again"))
    assert (tmp_path / "again").read_text() == "data"


def test_images_are_made_and_moved(docker: Docker, tmp_path: Path) -> None:
    (tmp_path / "ctx").mkdir()
    (tmp_path / "ctx" / "f").write_text("hello\n")
    lines = [
        "FROM busybox",
        "ARG A=1",
        "ENV X=$A",
        "COPY f /f",
        "RUN echo built > /b",
        'CMD ["cat", "/f", "/b"]',
    ]
    (tmp_path / "ctx" / "Dockerfile").write_text("\n".join(lines))
    assert "Successfully tagged img:1" in docker(
        "build", "-t", "img:1", "--build-arg", "A=2", str(tmp_path / "ctx")
    )
    assert "Using cache" in docker("build", "-t", "img:1", "--build-arg", "A=2", str(tmp_path / "ctx"))
    assert docker("run", "--name", "cc", "img:1") == "hello\nbuilt"
    assert "unable to remove" in docker.run("rmi", "img:1").stderr
    docker("commit", "cc", "img:2")
    docker("export", "cc", "-o", str(tmp_path / "c.tar"))
    docker("import", str(tmp_path / "c.tar"), "img:3")
    assert docker("run", "--rm", "img:3", "cat", "/f") == "hello"
    docker("save", "img:1", "img:2", "-o", str(tmp_path / "i.tar"))
    docker("rm", "cc")
    docker("rmi", "img:1", "img:2", "img:3")
    assert docker("images", "-q").count("\n") == 0
    assert "Loaded image: img:1" in docker("load", "-i", str(tmp_path / "i.tar"))
    assert json.loads(docker("inspect", "img:1"))[0]["Config"]["Env"][-1] == "X=2"
    failed = docker.run("build", "-", input="FROM busybox\nRUN exit 9\n")
    assert failed.returncode == 9
    unnamed = docker("build", "-q", "-", input="FROM busybox\nLABEL a=b\n").split("\n")[-1]
    assert docker("run", "--rm", unnamed, "echo", "hi") == "hi"
    assert unnamed in docker("image", "prune", "-f")
    assert "img" in docker("history", "--format", "{{.CreatedBy}}", "img:1") or docker("history", "img:1")


def test_networks_and_ports(docker: Docker) -> None:
    docker("network", "create", "--subnet", "10.99.7.0/24", "net1")
    serving = "mkdir /w; echo found > /w/index.html; httpd -f -h /w"
    docker(
        "run",
        "-d",
        "--name",
        "web",
        "--network",
        "net1",
        "--network-alias",
        "al",
        "-p",
        "127.0.0.1:0:80",
        "busybox",
        "sh",
        "-c",
        serving,
    )
    port = docker("port", "web", "80/tcp").rpartition(":")[2]
    until("found", docker, "run", "--rm", "--network", "net1", "busybox", "wget", "-qO-", "al")
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
        assert answer.read() == b"found\n"
    docker("run", "-d", "--name", "other", "busybox", "sleep", "100")
    assert docker.run("exec", "other", "wget", "-T1", "-qO-", "web").returncode != 0
    docker("network", "connect", "net1", "other")
    assert docker("exec", "other", "wget", "-qO-", "web") == "found"
    assert "other" in docker("network", "inspect", "net1")
    docker("network", "disconnect", "net1", "other")
    assert (
        docker("run", "--rm", "--network", "container:web", "busybox", "wget", "-qO-", "127.0.0.1") == "found"
    )
    assert "active endpoints" in docker.run("network", "rm", "net1").stderr
    docker("rm", "-f", "web")
    assert "net1" in docker("network", "prune", "-f")


def test_volumes(docker: Docker) -> None:
    docker("volume", "create", "--label", "a=b", "data")
    docker("run", "--rm", "-v", "data:/d", "busybox", "sh", "-c", "echo x > /d/x")
    assert docker("run", "--rm", "-v", "data:/m:ro", "busybox", "cat", "/m/x") == "x"
    docker("create", "--name", "cc", "-v", "data:/m", "-v", "/anonymous", "busybox")
    assert "volume is in use" in docker.run("volume", "rm", "data").stderr
    docker("rm", "-v", "cc")
    assert docker("volume", "ls", "-q", "--filter", "label=a=b") == "data" == docker("volume", "ls", "-q")
    docker("volume", "rm", "data")


def test_policies_and_health(docker: Docker) -> None:
    docker("run", "-d", "--name", "rr", "--restart", "on-failure:2", "busybox", "false")
    until("exited 2", docker, "inspect", "-f", "{{.State.Status}} {{.RestartCount}}", "rr")
    docker(
        "run",
        "-d",
        "--name",
        "hh",
        "--health-cmd",
        "test -e /ok",
        "--health-interval",
        "0.1s",
        "--health-retries",
        "1",
        "busybox",
        "sleep",
        "100",
    )
    until("(unhealthy)", docker, "ps")
    docker("exec", "hh", "touch", "/ok")
    until("(healthy)", docker, "ps")


def test_a_memory_bomb(docker: Docker) -> None:
    bomb = 'x=$(head -c 100000000 /dev/zero | tr "\\0" a); echo alive'
    done = docker.run("run", "--name", "cc", "-m", "20m", "--memory-swap", "20m", "busybox", "sh", "-c", bomb)
    assert "alive" not in done.stdout
    assert docker("inspect", "-f", "{{.State.OOMKilled}}", "cc") == "true"


def test_events_and_disk_usage(docker: Docker, engine: Engine) -> None:
    since = str(time.time() - 1)
    docker("run", "--rm", "--name", "cc", "busybox", "true")
    words = docker(
        "events",
        "--since",
        since,
        "--until",
        str(time.time() + 0.5),
        "--filter",
        "type=container",
        "--format",
        "{{.Action}}",
    )
    assert words.split() == ["create", "attach", "start", "die", "destroy"]
    assert "Images" in docker("system", "df")
    docker("create", "--name", "dd", "busybox")
    assert "Total reclaimed space" in docker("system", "prune", "-f")
    assert engine.containers == []


def test_volumes_begin_with_what_the_image_has(docker: Docker, tmp_path: Path) -> None:
    lines = [
        "FROM busybox",
        "RUN mkdir -p /d/sub && echo x > /d/sub/f && chown -R 7:8 /d && chmod 750 /d",
        "VOLUME /d",
    ]
    docker("build", "-t", "img", "-", input="\n".join(lines))
    look = ["stat", "-c", "%u:%g %a", "/d", "/d/sub/f"]
    for words in ([], ["-v", "named:/d"], ["--mount", "type=volume,src=other,dst=/d"]):
        assert docker("run", "--rm", *words, "img", *look).split("\n") == ["7:8 750", "7:8 644"]
    docker("run", "--rm", "-v", "named:/d", "img", "sh", "-c", "rm -r /d/sub; touch /d/kept")
    assert docker("run", "--rm", "-v", "named:/d", "img", "ls", "/d") == "kept"  # it was not empty
    assert docker("run", "--rm", "-v", "none:/d:nocopy", "img", "ls", "/d") == ""
    docker("create", "--name", "cc", "-v", "named:/d", "-v", f"{tmp_path}:/m", "img")
    (tmp_path / "f").write_text("there")
    shown = docker(
        "run", "--rm", "--volumes-from", "cc:ro", "img", "sh", "-c", "cat /m/f; ls /d; touch /d/x || echo no"
    )
    assert shown == "there" + "kept\nno"
    assert (
        "No such container" in docker.run("run", "--pull", "never", "--volumes-from", "nobody", "img").stderr
    )


def test_files_of_what_does_not_run(docker: Docker, tmp_path: Path) -> None:
    """Its volumes and bind mounts count, and links lead where they would inside."""
    (tmp_path / "m").mkdir()
    (tmp_path / "f").write_text("data")
    docker(
        "create", "--name", "cc", "-u", "5:6", "-v", "vol:/v", "-v", f"{tmp_path}/m:/m:ro", "busybox", "true"
    )
    docker("cp", str(tmp_path / "f"), "cc:/v/f")
    assert docker("run", "--rm", "-v", "vol:/w", "busybox", "cat", "/w/f") == "data"
    (tmp_path / "m" / "g").write_text("bound")
    docker("cp", "cc:/m/g", str(tmp_path / "back"))
    assert (tmp_path / "back").read_text() == "bound"
    assert docker.run("cp", str(tmp_path / "f"), "cc:/m/f").returncode == 1 and os.listdir(
        tmp_path / "m"
    ) == ["g"]
    os.chown(tmp_path / "f", 11, 12)
    for words, owner in (([], "11:12"), (["-a"], "5:6")):
        docker("cp", *words, str(tmp_path / "f"), "cc:/v/owned")
        assert docker("run", "--rm", "-v", "vol:/w", "busybox", "stat", "-c", "%u:%g", "/w/owned") == owner
    docker("run", "--read-only", "--name", "ro", "busybox", "true")
    assert "read-only" in docker.run("cp", str(tmp_path / "f"), "ro:/f").stderr
    assert docker.run("cp", str(tmp_path / "f"), "cc:/none/f").returncode == 1


def test_names_are_looked_up_as_told(docker: Docker) -> None:
    words = [
        "--dns",
        "192.0.2.1",
        "--dns-search",
        "example.test",
        "--dns-option",
        "timeout:1",
        "--add-host",
        "hh:192.0.2.9",
    ]
    shown = docker("run", "--rm", *words, "busybox", "cat", "/etc/resolv.conf", "/etc/hosts")
    for line in ("nameserver 192.0.2.1", "search example.test", "options timeout:1", "192.0.2.9\thh"):
        assert line in shown.split("\n")
    docker("network", "create", "net1")
    shown = docker("run", "--rm", "--network", "net1", *words, "busybox", "cat", "/etc/resolv.conf")
    assert "nameserver 127.0.0.11" in shown and "192.0.2.1" not in shown and "search example.test" in shown


def test_init_groups_and_commit_with_changes(docker: Docker) -> None:
    shown = docker(
        "run",
        "--rm",
        "--init",
        "--group-add",
        "77",
        "busybox",
        "sh",
        "-c",
        "id -G; cat /proc/1/comm; echo $$",
    )
    groups, first, own = shown.split("\n")
    assert "77" in groups.split() and first != "sh" and own != "1"
    docker("create", "--name", "cc", "busybox", "true")
    docker("commit", "-c", 'CMD ["echo", "changed"]', "-c", "ENV A=b", "-c", "LABEL l=1", "cc", "img")
    assert docker("run", "--rm", "img") == "changed"
    assert "not a valid change" in docker.run("commit", "-c", "RUN true", "cc", "img").stderr
    for words in (
        ["--gpus", "all"],
        ["--cgroup-parent", "/x"],
        ["--storage-opt", "size=1g"],
        ["--link", "cc:a"],
    ):
        assert "does not have the option" in docker.run("create", *words, "busybox").stderr
