"""`kit engine`: the Docker Engine API on a Unix socket."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import click

from kit.cli.store import told


@click.command()
@click.option(
    "--socket", metavar="PATH", type=click.Path(path_type=Path),
    help="Where to listen; by default kit.sock in the kit's runtime directory.",
)  # fmt: skip
@click.option(
    "--data-root", metavar="DIR", type=click.Path(path_type=Path),
    help="Where all is kept; by default beside the images of `kit images`.",
)  # fmt: skip
@click.option("--registry-mirror", metavar="URL", help="A registry to ask before the Hub.")
@click.option(
    "--insecure-registry", "insecure", multiple=True, metavar="HOST", help="A registry that may lack TLS."
)
@told
def engine(
    socket: Path | None, data_root: Path | None, registry_mirror: str | None, insecure: tuple[str, ...]
) -> None:
    """Run containers for docker, docker-compose and others, until it is interrupted. Needs root.

    What it runs ends with it: containers get their stop signals then, and five seconds to follow them.
    """
    from kit import owner
    from kit.engine import serve
    from kit.images.seed import default_directory

    asked_to_end = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):  # not blocked: what we start would inherit that
        signal.signal(number, lambda *_: asked_to_end.set())
    place = socket or owner.state_directory() / "kit.sock"
    root = data_root or default_directory().parent
    with serve(place, root, registry_mirror=registry_mirror, insecure=insecure) as started:
        click.echo(f"Serving {root}: export DOCKER_HOST=unix://{started.socket.absolute()}")
        asked_to_end.wait()
        started.close(seconds=5.0)
