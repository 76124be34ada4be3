"""`kit docker ...`: Docker's everyday commands by its SDK for Python, where the docker command is missing.

They ask the engine at $DOCKER_HOST, or else the one that `kit engine` starts. What is not here is refused.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any

import click

_ALL = click.option("-a", "--all", "every", is_flag=True, help="Also those that do not run.")
_FORCE = click.option("-f", "--force", is_flag=True, help="Even if it is in use.")
_QUIET = click.option("-q", "--quiet", is_flag=True, help="Only names or ids.")
_ENV = click.option("-e", "--env", multiple=True, metavar="NAME=VALUE", help="For its environment.")
_WORKDIR = click.option("-w", "--workdir", metavar="DIR", help="Where it begins.")
_USER = click.option("-u", "--user", default="", metavar="NAME|UID[:GROUP]", help="Who it is.")
_NAME, _NAMES = click.argument("name"), click.argument("names", nargs=-1, required=True)
_COMMAND = click.argument("command", nargs=-1, type=click.UNPROCESSED)


class _Docker(click.Group):
    """Commands whose mistakes end with status 1 and one line."""

    def invoke(self, ctx: click.Context) -> Any:
        import docker

        from kit import owner

        host = os.environ.get("DOCKER_HOST") or f"unix://{owner.state_directory() / 'kit.sock'}"
        try:
            ctx.obj = docker.DockerClient(host, timeout=600)
        except docker.errors.DockerException:
            remedy = "start one with `sudo kit engine`, or set DOCKER_HOST"
            raise click.ClickException(f"no engine answers at {host}: {remedy}") from None
        try:
            return super().invoke(ctx)
        except docker.errors.DockerException as error:
            raise click.ClickException(_text(error)) from None


def _text(error: Exception) -> str:
    return str(getattr(error, "explanation", None) or error)


@click.group("docker", cls=_Docker)
def docker_() -> None:
    """Docker's everyday commands, where the docker command is missing."""


_volume, _network = (click.Group(kind, help=f"The same for {kind}s.") for kind in ("volume", "network"))
docker_.add_command(_volume)
docker_.add_command(_network)


def _command(
    group: click.Group, name: str, *options: Callable[[Any], Any]
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a function, which gets the client first, a command with these options."""

    def add(function: Callable[..., None]) -> Callable[..., None]:
        made: Any = click.pass_obj(function)
        for option in reversed(options):
            made = option(made)
        as_typed = {"allow_interspersed_args": _COMMAND not in options}  # the rest is the container's
        group.command(name, context_settings=as_typed)(made)
        return function

    return add


def _verb(group: click.Group, name: str, what: str, *options: Callable[[Any], Any]) -> None:
    """A command that does with each of its names what the SDK's method of the name ``what`` does."""

    def each(client: Any, names: tuple[str, ...], **how: Any) -> None:
        from docker.errors import APIError

        failed = False
        for one in names:
            try:
                getattr(client.api, what)(one, **how)
                click.echo(one)
            except APIError as error:
                click.echo(f"Error: {_text(error)}", err=True)
                failed = True
        sys.exit(failed)

    each.__doc__ = f"{what.partition('_')[0].capitalize()} what has these names."
    _command(group, name, *options, _NAMES)(each)


def _table(titles: str, rows: Iterable[Sequence[object]], only: int | None = None) -> None:
    """Columns as Docker's, or ``only`` one without its title; ``titles`` are parted by |."""
    lines = [titles.split("|"), *([str(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines if only is None else lines[1:]:
        cells = map(str.ljust, line, widths) if only is None else [line[only]]
        click.echo("   ".join(cells).rstrip())


def _told(lines: Iterable[dict[str, Any]]) -> None:
    """The progress of a pull, a push or a build, without its bars."""
    for line in lines:
        if "error" in line:
            raise click.ClickException(line["error"])
        if not line.get("progressDetail"):
            name = f"{line['id']}: " if "id" in line else ""
            click.echo(line.get("stream") or f"{name}{line.get('status', '')}\n", nl=False)


def _shown(frames: Iterable[tuple[bytes | None, bytes | None]]) -> None:
    for out, error in frames:
        click.echo(out or b"", nl=False)
        click.echo(error or b"", nl=False, err=True)


@_command(
    docker_,
    "run",
    click.option("-d", "--detach", is_flag=True, help="Print its id and let it run."),
    click.option("--rm", is_flag=True, help="Remove it at its end."),
    click.option("--name", help="What it is called."),
    click.option("-p", "--publish", multiple=True, metavar="[[IP:]PORT:]PORT[/udp]", help="A port of ours."),
    click.option(
        "-v", "--volume", multiple=True, metavar="SOURCE:TARGET[:ro]", help="A volume or directory."
    ),
    _ENV,
    _WORKDIR,
    _USER,
    click.option("-m", "--memory", metavar="SIZE", help="At most this much, as in 64m."),
    click.option("--cpus", type=float, default=0.0, help="At most this many."),
    click.option("--network", metavar="NAME", help="Its network: bridge, host, none or one of yours."),
    click.option("--read-only", is_flag=True, help="Nothing of the image can be changed."),
    click.argument("image"),
    _COMMAND,
)
def run(client: Any, image: str, command: tuple[str, ...], detach: bool, rm: bool, **how: Any) -> None:
    """Run a COMMAND in a new container, and end as it ends."""
    from docker.errors import ImageNotFound
    from docker.utils.ports import build_port_bindings

    options = {
        "name": how["name"], "user": how["user"], "working_dir": how["workdir"], "network": how["network"],
        "volumes": [os.path.abspath(one) if one[:1] == "." else one for one in how["volume"]],
        "environment": list(how["env"]), "ports": build_port_bindings(how["publish"]),
        "mem_limit": how["memory"], "nano_cpus": round(how["cpus"] * 1e9), "read_only": how["read_only"],
        "auto_remove": rm and detach, "command": list(command) or None,
    }  # fmt: skip
    try:
        container = client.containers.create(image, **options)
    except ImageNotFound:
        click.echo(f"Unable to find image '{image}' locally", err=True)
        client.images.pull(*_name(image))
        container = client.containers.create(image, **options)
    if detach:
        container.start()
        click.echo(container.id)
        return
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: container.kill(number))
    try:
        frames = container.attach(stream=True, demux=True)
        container.start()
        _shown(frames)
        status = container.wait()["StatusCode"]
    finally:
        if rm:
            container.remove(force=True)
    sys.exit(status)


@_command(docker_, "exec", _ENV, _WORKDIR, _USER, _NAME, _COMMAND)
def exec_(client: Any, name: str, command: tuple[str, ...], env: tuple[str, ...], **how: Any) -> None:
    """Run a COMMAND in a running container."""
    made = client.api.exec_create(name, list(command), environment=list(env), **how)["Id"]
    _shown(client.api.exec_start(made, stream=True, demux=True))
    sys.exit(client.api.exec_inspect(made)["ExitCode"])


@_command(
    docker_,
    "logs",
    click.option("-f", "--follow", is_flag=True, help="Go on until its end."),
    click.option("-n", "--tail", type=int, default=-1, help="Only the last lines."),
    _NAME,
)
def logs(client: Any, name: str, follow: bool, tail: int) -> None:
    """Show what a container has said."""
    for data in client.api.logs(name, stream=True, follow=follow, tail=tail if tail >= 0 else "all"):
        click.echo(data, nl=False)


def _list(group: Any, name: str, titles: str, only: int, rows: Callable[..., Any], *more: Any) -> None:
    """A command that shows a table, or with -q one column of it."""

    def listed(client: Any, quiet: bool, **how: Any) -> None:
        """List what there is."""
        _table(titles, rows(client.api, **how), only if quiet else None)

    _command(group, name, _QUIET, *more)(listed)


def _containers(api: Any, every: bool) -> Iterator[Sequence[object]]:
    for one in api.containers(all=every):
        said = one["Command"] if len(one["Command"]) < 20 else f"{one['Command'][:19]}…"
        names = ",".join(name.lstrip("/") for name in one["Names"])
        ports = sorted({_port(**port) for port in one["Ports"]})
        yield one["Id"][:12], one["Image"], f'"{said}"', one["Status"], ", ".join(ports), names


def _port(PrivatePort: int, Type: str, PublicPort: int = 0, IP: str = "") -> str:
    return f"{IP}:{PublicPort}->{PrivatePort}/{Type}" if PublicPort else f"{PrivatePort}/{Type}"


def _images(api: Any) -> Iterator[Sequence[object]]:
    from kit.images.shown import age
    from kit.show import size

    for one in api.images():
        when = age(datetime.fromtimestamp(one["Created"], UTC).isoformat())
        for tag in one["RepoTags"] or ["<none>:<none>"]:
            yield *tag.rsplit(":", 1), one["Id"][7:19], when, size(one["Size"])


_list(docker_, "ps", "CONTAINER ID|IMAGE|COMMAND|STATUS|PORTS|NAMES", 0, _containers, _ALL)
_list(docker_, "images", "REPOSITORY|TAG|IMAGE ID|CREATED|SIZE", 2, _images)
_VOLUME, _NETWORK = itemgetter("Driver", "Name"), itemgetter("Name", "Driver", "Scope")
_list(_volume, "ls", "DRIVER|VOLUME NAME", 1, lambda api: map(_VOLUME, api.volumes()["Volumes"] or ()))
_list(_network, "ls", "NAME|DRIVER|SCOPE", 0, lambda api: map(_NETWORK, api.networks()))


def _name(image: str) -> tuple[str, str]:
    from docker.utils import parse_repository_tag

    repository, tag = parse_repository_tag(image)
    return repository, tag or "latest"


for word in ("pull", "push"):

    def transfer(client: Any, name: str, word: str = word) -> None:
        _told(getattr(client.api, word)(*_name(name), stream=True, decode=True))

    transfer.__doc__ = f"{word.capitalize()} an image."
    _command(docker_, word, _NAME)(transfer)


@_command(
    docker_,
    "build",
    click.option("-t", "--tag", metavar="NAME", help="A name for it."),
    click.argument("directory"),
)
def build(client: Any, directory: str, tag: str | None) -> None:
    """Build an image from the Dockerfile and the files in a DIRECTORY."""
    _told(client.api.build(path=directory, tag=tag, rm=True, decode=True))


_TIME = click.option("-t", "--time", "timeout", type=int, default=10, help="Seconds before it is killed.")
_SIGNAL = click.option("-s", "--signal", default="KILL", help="By name or number.")
_verb(docker_, "start", "start")
_verb(docker_, "stop", "stop", _TIME)
_verb(docker_, "kill", "kill", _SIGNAL)
_verb(docker_, "rm", "remove_container", _FORCE)
_verb(docker_, "rmi", "remove_image", _FORCE)
_verb(_volume, "create", "create_volume")
_verb(_volume, "rm", "remove_volume")
_verb(_network, "create", "create_network")
_verb(_network, "rm", "remove_network")


@_command(docker_, "inspect", _NAMES)
def inspect(client: Any, names: tuple[str, ...]) -> None:
    """Show all about containers, images, networks or volumes, as JSON."""
    from docker.errors import NotFound

    found = []
    for name in names:
        for kind in ("container", "image", "network", "volume"):
            with suppress(NotFound):
                found.append(getattr(client.api, f"inspect_{kind}")(name))
                break
        else:
            raise click.ClickException(f"No such object: {name}")
    click.echo(json.dumps(found, indent=4))


@_command(docker_, "stats", click.option("--no-stream", is_flag=True, required=True, help="Once."))
def stats(client: Any, no_stream: bool) -> None:
    """Show what the running containers use."""
    from kit.show import size

    rows = []
    for one in client.containers.list():
        used = one.stats(stream=False)
        seconds = used["cpu_stats"]["cpu_usage"]["total_usage"] / 1e9
        memory = " / ".join(size(used["memory_stats"].get(key, 0)) for key in ("usage", "limit"))
        rows.append((one.short_id, one.name, f"{seconds:.2f}", memory, used["pids_stats"]["current"]))
    _table("CONTAINER ID|NAME|CPU SECONDS|MEM USAGE / LIMIT|PIDS", rows)


@_command(
    docker_, "events", click.option("--since", metavar="SECONDS"), click.option("--until", metavar="SECONDS")
)
def events(client: Any, since: str | None, until: str | None) -> None:
    """Show what happens, as it happens; times are seconds since 1970."""
    for one in client.api.events(since=since, until=until, decode=True):
        more = ", ".join(f"{key}={value}" for key, value in sorted(one["Actor"]["Attributes"].items()))
        when = datetime.fromtimestamp(one["timeNano"] / 1e9, UTC).isoformat()
        click.echo(f"{when} {one['Type']} {one['Action']} {one['Actor']['ID']} ({more})")


for word in ("version", "info"):

    def about(client: Any, word: str = word) -> None:
        """Show what the engine says of itself."""
        for name, value in getattr(client.api, word)().items():
            if isinstance(value, str | int):
                click.echo(f"{name}: {value}")

    _command(docker_, word)(about)
