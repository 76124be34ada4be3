"""`kit runtime` and `kit bundle`: OCI bundles, by the command line that runc and crun share."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kit.cli.store import STORE, opened, told

if TYPE_CHECKING:
    from kit.containers.container import Container

_BUNDLE = click.option("-b", "--bundle", type=click.Path(path_type=Path), default=".", help="Its directory.")
_PID_FILE = click.option("--pid-file", type=click.Path(path_type=Path), help="Where to write the pid.")
_CONSOLE = click.option("--console-socket", metavar="PATH", help="Where to send the terminal's master.")


class _Runtime(click.Group):
    """Commands whose mistakes end with status 1 and one line, in the log too."""

    def invoke(self, ctx: click.Context) -> Any:
        from kit.containers import BadConfig

        try:
            return super().invoke(ctx)
        except (BadConfig, OSError, ValueError) as error:
            if log := ctx.params.get("log"):
                line = {
                    "level": "error",
                    "msg": str(error),
                    "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                }
                text = " ".join(f"{key}={json.dumps(value)}" for key, value in line.items())
                with open(log, "a") as file:
                    file.write((json.dumps(line) if ctx.params["log_format"] == "json" else text) + "\n")
            raise click.ClickException(str(error)) from None


@click.group(cls=_Runtime)
@click.option(
    "--root", type=click.Path(path_type=Path), default="/run/kit/runtime", help="Where states are kept."
)
@click.option("--log", type=click.Path(), help="A file for errors.")
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text")
@click.pass_context
def runtime(ctx: click.Context, root: Path, log: str | None, log_format: str) -> None:
    """Run containers from OCI bundles, as runc and crun do."""
    ctx.obj = root


@runtime.command()
@_BUNDLE
@_PID_FILE
@_CONSOLE
@click.argument("id")
@click.pass_obj
def create(root: Path, bundle: Path, pid_file: Path | None, console_socket: str | None, id: str) -> None:
    """Make a container; `start` runs its program."""
    from kit.containers import kept

    _hand_over(kept.create(root, id, bundle, (0, 1, 2)), pid_file, console_socket)


@runtime.command()
@click.argument("id")
@click.pass_obj
def start(root: Path, id: str) -> None:
    """Run the program of a container that was created."""
    from kit.containers import kept

    kept.begin(root, kept.load(root, id)[0])


@runtime.command()
@_BUNDLE
@_PID_FILE
@_CONSOLE
@click.option("-d", "--detach", is_flag=True, help="Do not wait for its end.")
@click.option("--keep", is_flag=True, help="Do not delete it after its end.")
@click.argument("id")
@click.pass_obj
def run(
    root: Path,
    bundle: Path,
    pid_file: Path | None,
    console_socket: str | None,
    detach: bool,
    keep: bool,
    id: str,
) -> None:
    """Create and start a container, and end as it ends."""
    from kit.containers import kept

    container = kept.create(root, id, bundle, (0, 1, 2), keep=detach or keep)
    _hand_over(container, pid_file, console_socket)
    kept.begin(root, container)
    if not detach:
        status = _foreground(container)
        if not keep:
            kept.delete(root, container, force=True)
            container.close()
        sys.exit(status)


@runtime.command(name="exec", context_settings={"allow_interspersed_args": False})
@_PID_FILE
@_CONSOLE
@click.option("-d", "--detach", is_flag=True, help="Do not wait for its end.")
@click.option("-t", "--tty", is_flag=True, help="Give it a terminal.")
@click.option("-e", "--env", multiple=True, metavar="NAME=VALUE")
@click.option("-u", "--user", metavar="UID[:GID]")
@click.option("--cwd", metavar="PATH")
@click.option(
    "-p", "--process", type=click.Path(path_type=Path), help="A file with the runtime-spec's process."
)
@click.argument("id")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def exec_(
    root: Path,
    pid_file: Path | None,
    console_socket: str | None,
    detach: bool,
    tty: bool,
    env: tuple[str, ...],
    user: str | None,
    cwd: str | None,
    process: Path | None,
    id: str,
    command: tuple[str, ...],
) -> None:
    """Run a COMMAND in a container."""
    from kit import containers
    from kit.containers import kept

    container, _ = kept.load(root, id)
    document: dict[str, Any] = json.loads(process.read_text()) if process else {"args": list(command)}
    if env:
        document["env"] = [*container.config["process"].get("env", ()), *env]
    if user is not None:
        document["user"] = containers.user(Path(f"/proc/{container.pid}/root"), user)
    if cwd is not None:
        document["cwd"] = cwd
    tty = tty or bool(document.get("terminal"))
    running = container.exec(document, stdin=0, stdout=1, stderr=2, tty=tty, keep=detach)
    _hand_over(running, pid_file, console_socket)
    if not detach:
        sys.exit(_foreground(running))


@runtime.command()
@click.argument("id")
@click.pass_obj
def state(root: Path, id: str) -> None:
    """Print a container's state as JSON."""
    from kit.containers import kept

    click.echo(json.dumps(_state(root, *kept.load(root, id)), indent=2))


def _state(root: Path, container: Container, noted: dict[str, Any]) -> dict[str, Any]:
    from kit.containers import kept

    status = kept.status(root, container)
    return {
        "ociVersion": container.config["ociVersion"],
        "id": container.id,
        "status": status,
        "pid": 0 if status == "stopped" else container.pid,
        "bundle": noted["bundle"],
        "annotations": container.config.get("annotations") or {},
    }


@runtime.command(name="list")
@click.option("-q", "--quiet", is_flag=True, help="Print the ids alone.")
@click.option("-f", "--format", "form", type=click.Choice(["table", "json"]), default="table")
@click.pass_obj
def list_(root: Path, quiet: bool, form: str) -> None:
    """List the containers."""
    from kit.containers import kept

    states = [_state(root, *kept.load(root, id)) for id in kept.all(root)]
    if form == "json" and not quiet:
        click.echo(json.dumps(states))
        return
    if not quiet:
        click.echo(f"{'ID':20} {'PID':8} {'STATUS':10} BUNDLE")
    for one in states:
        click.echo(one["id"] if quiet else "{id:20} {pid:<8} {status:10} {bundle}".format(**one))


@runtime.command()
@click.option("-a", "--all", "everyone", is_flag=True, help="Every process in it.")
@click.argument("id")
@click.argument("signal", default="SIGTERM")
@click.pass_obj
def kill(root: Path, everyone: bool, id: str, signal: str) -> None:
    """Send a SIGNAL, by name or number, to a container's first process."""
    from kit.containers import BadConfig, kept

    container, _ = kept.load(root, id)
    if container.poll() is not None and not everyone:
        raise BadConfig(f"the container {id} does not run")
    container.kill(_signal(signal), everyone)


def _signal(text: str) -> int:
    try:
        return int(text) if text.isdecimal() else signal.Signals[f"SIG{text.upper().removeprefix('SIG')}"]
    except KeyError:
        raise ValueError(f"there is no signal {text!r}: signal(7) lists them") from None


@runtime.command()
@click.option("-f", "--force", is_flag=True, help="Kill it first.")
@click.argument("id")
@click.pass_obj
def delete(root: Path, force: bool, id: str) -> None:
    """Remove a container that has stopped."""
    from kit.containers import kept

    kept.delete(root, kept.load(root, id)[0], force)


@runtime.command()
@click.option("-f", "--format", "form", type=click.Choice(["table", "json"]), default="table")
@click.argument("id")
@click.pass_obj
def ps(root: Path, form: str, id: str) -> None:
    """List a container's processes, with their numbers as seen from here."""
    from kit.containers import kept
    from kit.linux import proc

    pids = kept.load(root, id)[0].pids()
    if form == "json":
        click.echo(json.dumps(pids))
        return
    for pid in pids:
        click.echo(f"{pid:8} {' '.join(proc.command(pid))}")


@runtime.command()
@click.argument("id")
@click.pass_obj
def pause(root: Path, id: str) -> None:
    """Stop all processes of a container where they stand."""
    from kit.containers import kept

    kept.load(root, id)[0].pause()


@runtime.command()
@click.argument("id")
@click.pass_obj
def resume(root: Path, id: str) -> None:
    """Let a paused container run on."""
    from kit.containers import kept

    kept.load(root, id)[0].resume()


@runtime.command()
@click.option(
    "-r", "--resources", type=click.File(), help="The runtime-spec's resources; - for standard input."
)
@click.option("--memory", "memory_limit", type=int, help="Bytes.")
@click.option("--memory-swap", "memory_swap", type=int, help="Bytes of memory and swap.")
@click.option("--cpu-quota", "cpu_quota", type=int, help="Microseconds in each period.")
@click.option("--cpu-period", "cpu_period", type=int, help="Microseconds.")
@click.option("--cpu-share", "cpu_shares", type=int)
@click.option("--cpuset-cpus", "cpu_cpus")
@click.option("--pids-limit", "pids_limit", type=int)
@click.argument("id")
@click.pass_obj
def update(root: Path, /, resources: Any, id: str, **given: Any) -> None:
    """Change a container's limits."""
    from kit.containers import kept

    wanted: dict[str, Any] = json.load(resources) if resources else {}
    for name, value in given.items():
        if value is not None:
            part, _, key = name.partition("_")
            wanted.setdefault(part, {})[key] = value
    kept.load(root, id)[0].update(wanted)


@runtime.command()
@click.option("--stats", is_flag=True, required=True, help="What it uses, once.")
@click.argument("id")
@click.pass_obj
def events(root: Path, stats: bool, id: str) -> None:
    """Print what a container uses, as JSON."""
    from kit.containers import kept

    used = kept.load(root, id)[0].stats()
    nano = {key: used.get(f"cpu_{key}_usec", 0) * 1000 for key in ("usage", "user", "system")}
    data = {
        "cpu": {"usage": {"total": nano["usage"], "user": nano["user"], "kernel": nano["system"]}},
        "memory": {
            "usage": {"usage": used.get("memory_bytes", 0), "limit": used.get("memory_limit_bytes", 0)}
        },
        "pids": {"current": used.get("pids", 0), "limit": used.get("pids_limit", 0)},
    }
    click.echo(json.dumps({"type": "stats", "id": id, "data": data}))


@runtime.command()
@_BUNDLE
def spec(bundle: Path) -> None:
    """Write a config.json to begin with."""
    from kit import containers

    with open(bundle / "config.json", "x") as file:
        json.dump(containers.config({}, cmd=["sh"], hostname="kit", tty=True), file, indent=2)


@click.command()
@click.argument("image")
@click.argument("target", metavar="DIRECTORY", type=click.Path(path_type=Path))
@STORE
@told
def bundle(image: str, target: Path, directory: Path | None) -> None:
    """Write IMAGE as an OCI bundle into a new DIRECTORY: its tree, and a config.json. Needs root."""
    from kit import containers
    from kit.images import Image, rootfs

    found = Image.find(opened(directory), image)
    target.mkdir()
    with rootfs.mount(found.store, found, read_only=True) as mounted:
        subprocess.run(["cp", "-a", f"{mounted.path}/.", target / "rootfs"], check=True)
        config = containers.config(found.config, root=mounted.path, hostname="kit")
    (target / "config.json").write_text(json.dumps(config, indent=2))


def _hand_over(running: Any, pid_file: Path | None, console_socket: str | None) -> None:
    if console_socket is not None:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(console_socket)
            socket.send_fds(sock, [b"/dev/ptmx"], [running.master])
        os.close(running.master)
        running.master = -1
    if pid_file is not None:
        pid_file.write_text(str(running.pid))


def _foreground(running: Any) -> int:
    """Wait for a process that our terminal or standard input and output belong to; its exit status."""
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT):
        signal.signal(number, lambda number, _: running.kill(number))
    if running.master >= 0:
        from kit.cli.screen import show

        show(running)
    status: int = running.wait()
    return status
