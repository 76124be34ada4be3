"""`kit build`, with the options of `docker build`."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable
from pathlib import Path

import click

from kit.cli.store import STORE, opened, told


@click.command()
@click.argument("context", type=click.Path(path_type=Path))
@click.option("-t", "--tag", "tags", multiple=True, metavar="NAME", help="A name for the image.")
@click.option("-f", "--file", type=click.Path(path_type=Path), help="The Dockerfile; by default CONTEXT's.")
@click.option("--target", metavar="STAGE", help="The stage to build, by default the last.")
@click.option("--build-arg", "arguments", multiple=True, metavar="NAME[=VALUE]", help="A value for an ARG.")
@click.option("--label", "labels", multiple=True, metavar="NAME=VALUE", help="A label for the image.")
@click.option("--no-cache", is_flag=True, help="Do every step anew.")
@click.option("--network", type=click.Choice(["none", "host"]), default="none", help="What a RUN has of it.")
@click.option("-q", "--quiet", is_flag=True, help="Print the image's id, and nothing else.")
@STORE
@told
def build(
    context: Path,
    tags: tuple[str, ...],
    file: Path | None,
    target: str | None,
    arguments: tuple[str, ...],
    labels: tuple[str, ...],
    no_cache: bool,
    network: str,
    quiet: bool,
    directory: Path | None,
) -> None:
    """Build an image from a Dockerfile and the files in the directory CONTEXT.

    A step that was done before is CACHED. A RUN has no network unless --network=host says so. Needs root.
    """
    from kit.images import build as builder
    from kit.images.build.builder import check_privilege
    from kit.images.build.progress import Printer

    check_privilege()  # before a store is made that nobody can build in
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that all is cleaned up
    printer = Printer(_write, styled=sys.stdout.isatty())
    try:
        built = builder.build(
            opened(directory),
            context,
            dockerfile=file,
            tags=tags,
            target=target,
            build_args=_pairs("--build-arg", arguments, from_environment=True),
            labels=_pairs("--label", labels),
            no_cache=no_cache,
            network=network,
            progress=None if quiet else printer,
        )
    except builder.BuildFailed as error:
        # What the program printed has been seen, unless we were to be quiet.
        raise click.ClickException(str(error) if quiet else str(error).partition("\n")[0]) from None
    if quiet:
        click.echo(built.image.id)
    else:
        printer.finish(built)


def _write(text: str) -> None:
    click.echo(text, nl=False)


def _pairs(option: str, texts: Iterable[str], from_environment: bool = False) -> dict[str, str]:
    """NAME=VALUE as a mapping; a NAME alone may be taken from the environment, if it is there."""
    pairs = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name or not (equals or from_environment):
            raise click.BadOptionUsage(option, f"{option} {text!r} is not NAME=VALUE")
        if equals:
            pairs[name] = value
        elif name in os.environ:
            pairs[name] = os.environ[name]
    return pairs
