"""`kit runtime` and `kit bundle`: OCI bundles, by the command line that runc and crun share."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from kit.cli.store import STORE, opened, told

_BUNDLE = click.option("-b", "--bundle", type=click.Path(path_type=Path), default=".", help="Its directory.")
_PID_FILE = click.option("--pid-file", type=click.Path(path_type=Path), help="Where to write the pid.")
_CONSOLE = click.option("--console-socket", metavar="PATH", help="Where to send the terminal's master.")
_DETACH = click.option("-d", "--detach", is_flag=True, help="Do not wait for its end.")
_FORMAT = click.option("-f", "--format", "form", type=click.Choice(["table", "json"]), default="table")
_ID = click.argument("id")


def _kept() -> Any:
    from kit.containers import kept

    return kept


class _Runtime(click.Group):
    """Commands whose mistakes end with status 1 and one line, in the log too."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (OSError, ValueError, RuntimeError) as error:
            if log := ctx.params.get("log"):
                when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
                line = {"level": "error", "msg": str(error), "time": when}
                text = " ".join(f"{key}={json.dumps(value)}" for key, value in line.items())
                with open(log, "a") as file:
                    file.write((json.dumps(line) if ctx.params["log_format"] == "json" else text) + "\n")
            raise click.ClickException(str(error)) from None


@click.group(cls=_Runtime)
@click.option("--root", type=click.Path(path_type=Path), default="/run/kit/runtime", help="For states.")
@click.option("--log", type=click.Path(), help="A file for errors.")
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text")
@click.pass_context
def runtime(ctx: click.Context, root: Path, log: str | None, log_format: str) -> None:
    """Run containers from OCI bundles, as runc and crun do."""
    ctx.obj = root


def _on_container(function: Callable[..., None]) -> Callable[..., None]:
    """A command on the container with the ID: it gets that, its root of states, and what was noted."""

    @_ID
    @click.pass_obj
    def command(root: Path, /, id: str, **options: Any) -> None:
        container, noted = _kept().load(root, id)
        function(container, root, noted, **options)

    command.__doc__, command.__name__ = function.__doc__, function.__name__.strip("_")
    command.__click_params__ = getattr(function, "__click_params__", []) + command.__click_params__  # type: ignore
    return command


@runtime.command()
@_BUNDLE
@_PID_FILE
@_CONSOLE
@_ID
@click.pass_obj
def create(root: Path, bundle: Path, pid_file: Path | None, console_socket: str | None, id: str) -> None:
    """Make a container; `start` runs its program."""
    _hand_over(_kept().create(root, id, bundle, (0, 1, 2)), pid_file, console_socket)


@runtime.command()
@_on_container
def start(container: Any, root: Path, noted: Any) -> None:
    """Run the program of a container that was created."""
    _kept().begin(root, container, noted)


@runtime.command()
@_BUNDLE
@_PID_FILE
@_CONSOLE
@_DETACH
@_ID
@click.pass_obj
def run(root: Path, bundle: Path, pid_file: Path, console_socket: str, detach: bool, id: str) -> None:
    """Create and start a container; wait, delete it, and end as it ended."""
    container = _kept().create(root, id, bundle, (0, 1, 2), keep=detach)
    _hand_over(container, pid_file, console_socket)
    noted = {"bundle": str(bundle.resolve())}
    _kept().begin(root, container, noted)
    if not detach:
        status = _foreground(container)
        _kept().delete(root, container, noted, force=True)
        sys.exit(status)


@runtime.command(name="exec", context_settings={"allow_interspersed_args": False})
@_PID_FILE
@_CONSOLE
@_DETACH
@click.option("-t", "--tty", is_flag=True, help="Give it a terminal.")
@click.option("-e", "--env", multiple=True, metavar="NAME=VALUE")
@click.option("-u", "--user", metavar="UID[:GID]")
@click.option("--cwd", metavar="PATH")
@click.option("-p", "--process", type=click.File(), help="A file with the runtime-spec's process.")
@_ID
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def exec_(
    root: Path,
    /,
    id: str,
    command: tuple[str, ...],
    process: Any,
    user: str | None,
    detach: bool,
    **options: Any,
) -> None:
    """Run a COMMAND in a container."""
    from kit import containers

    container, _ = _kept().load(root, id)
    document: dict[str, Any] = json.load(process) if process else {"args": list(command)}
    if options["env"]:
        document["env"] = [*container.config["process"].get("env", ()), *options["env"]]
    if user is not None:
        document["user"] = containers.user(Path(f"/proc/{container.pid}/root"), user)
    if options["cwd"] is not None:
        document["cwd"] = options["cwd"]
    tty = options["tty"] or bool(document.get("terminal"))
    running = container.exec(document, stdin=0, stdout=1, stderr=2, tty=tty, keep=detach)
    _hand_over(running, options["pid_file"], options["console_socket"])
    if not detach:
        sys.exit(_foreground(running))


@runtime.command()
@_on_container
def state(container: Any, root: Path, noted: Any) -> None:
    """Print a container's state as JSON."""
    click.echo(json.dumps(_kept().state(root, container, noted), indent=2))


@runtime.command(name="list")
@click.option("-q", "--quiet", is_flag=True, help="Print the ids alone.")
@_FORMAT
@click.pass_obj
def list_(root: Path, quiet: bool, form: str) -> None:
    """List the containers."""
    states = [_kept().state(root, *_kept().load(root, id)) for id in _kept().all(root)]
    if form == "json" and not quiet:
        click.echo(json.dumps(states))
        return
    line = "{id}" if quiet else "{id:20} {pid:<8} {status:10} {bundle}"
    head = [] if quiet else [{"id": "ID", "pid": "PID", "status": "STATUS", "bundle": "BUNDLE"}]
    for one in [*head, *states]:
        click.echo(line.format(**one))


@runtime.command()
@click.option("-a", "--all", "everyone", is_flag=True, help="Every process in it.")
@_on_container
@click.argument("signal", default="TERM")
def kill(container: Any, root: Path, noted: Any, everyone: bool, signal: str) -> None:
    """Send a SIGNAL, by name or number, to a container's first process."""
    if container.poll() is not None and not everyone:
        raise ValueError(f"the container {container.id} does not run")
    container.kill(_signal(signal), everyone)


def _signal(text: str) -> int:
    try:
        return int(text) if text.isdecimal() else signal.Signals[f"SIG{text.upper().removeprefix('SIG')}"]
    except KeyError:
        raise ValueError(f"there is no signal {text!r}: signal(7) lists them") from None


@runtime.command()
@click.option("-f", "--force", is_flag=True, help="Kill it first.")
@_on_container
def delete(container: Any, root: Path, noted: Any, force: bool) -> None:
    """Remove a container that has stopped."""
    _kept().delete(root, container, noted, force)


@runtime.command()
@_FORMAT
@_on_container
def ps(container: Any, root: Path, noted: Any, form: str) -> None:
    """List a container's processes, with their numbers as seen from here."""
    from kit.linux import proc

    pids = container.pids()
    lines = [f"{pid:8} {' '.join(proc.command(pid))}" for pid in pids]
    click.echo(json.dumps(pids) if form == "json" else "\n".join(lines))


@runtime.command()
@_on_container
def pause(container: Any, root: Path, noted: Any) -> None:
    """Stop all processes of a container where they stand."""
    container.pause()


@runtime.command()
@_on_container
def resume(container: Any, root: Path, noted: Any) -> None:
    """Let a paused container run on."""
    container.resume()


@runtime.command()
@click.option("-r", "--resources", type=click.File(), help="The runtime-spec's; - for standard input.")
@click.option("--memory", "memory_limit", type=int, help="Bytes.")
@click.option("--memory-swap", "memory_swap", type=int, help="Bytes of memory and swap.")
@click.option("--cpu-quota", "cpu_quota", type=int, help="Microseconds in each period.")
@click.option("--cpu-period", "cpu_period", type=int, help="Microseconds.")
@click.option("--cpu-share", "cpu_shares", type=int)
@click.option("--cpuset-cpus", "cpu_cpus")
@click.option("--pids-limit", "pids_limit", type=int)
@_on_container
def update(container: Any, root: Path, noted: Any, resources: Any, **given: Any) -> None:
    """Change a container's limits."""
    wanted: dict[str, Any] = json.load(resources) if resources else {}
    for name, value in given.items():
        part, _, key = name.partition("_")
        if value is not None:
            wanted.setdefault(part, {})[key] = value
    container.update(wanted)


@runtime.command()
@click.option("--stats", is_flag=True, required=True, help="What it uses, once.")
@_on_container
def events(container: Any, root: Path, noted: Any, stats: bool) -> None:
    """Print what a container uses, as JSON."""
    used = container.stats()
    nano = {key: used.get(f"cpu_{key}_usec", 0) * 1000 for key in ("usage", "user", "system")}
    memory = {"usage": used.get("memory_bytes", 0), "limit": used.get("memory_limit_bytes", 0)}
    data = {
        "cpu": {"usage": {"total": nano["usage"], "user": nano["user"], "kernel": nano["system"]}},
        "memory": {"usage": memory},
        "pids": {"current": used.get("pids", 0), "limit": used.get("pids_limit", 0)},
    }
    click.echo(json.dumps({"type": "stats", "id": container.id, "data": data}))


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
        running.hang_up()
    if pid_file is not None:
        pid_file.write_text(str(running.pid))


def _foreground(running: Any) -> int:
    """Wait for a process that has our terminal, or our standard input and output; its exit status."""
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT):
        signal.signal(number, lambda number, _: running.kill(number))
    if running.master >= 0:
        from kit.cli.screen import show

        show(running)
    status: int = running.wait()
    return status
