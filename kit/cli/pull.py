"""Images from and to registries: `kit pull`, `kit push`, `kit tags`, as Docker names what it has of them."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from kit.cli.store import STORE, opened, told

INSECURE = click.option(
    "--insecure-registry", "insecure", multiple=True, metavar="HOST", help="A registry that may lack TLS."
)
_MIRROR = click.option(
    "--registry-mirror", "mirrors", multiple=True, metavar="HOST", envvar="KIT_MIRRORS",
    help="A registry to ask before the Hub; by default $KIT_MIRRORS, separated by spaces.",
)  # fmt: skip
_PLATFORM = click.option(
    "--platform", metavar="OS/ARCH", help="As in linux/arm64; by default this machine's."
)
_QUIET = click.option("-q", "--quiet", is_flag=True, help="Print the image's name, and nothing else.")


@click.command()
@STORE
@_PLATFORM
@_MIRROR
@INSECURE
@_QUIET
@click.argument("name")
@told
def pull(
    directory: Path | None,
    platform: str | None,
    mirrors: tuple[str, ...],
    insecure: tuple[str, ...],
    quiet: bool,
    name: str,
) -> None:
    """Download an image from a registry; a NAME without a host means Docker Hub."""
    from kit.images import Platform, Reference
    from kit.images.errors import UnknownImage
    from kit.registries import pull
    from kit.registries.progress import Printer

    reference, store = Reference.parse(name), opened(directory)
    try:
        before = store.resolve(str(reference))
    except UnknownImage:
        before = None
    if not quiet:
        click.echo(f"{reference.digest or reference.tag}: Pulling from {reference.repository}")
    image = pull(
        store,
        name,
        platform=Platform.parse(platform) if platform else None,
        progress=None if quiet else Printer(sys.stdout, "Pull"),
        mirrors=mirrors,
        insecure=insecure,
    )
    if not quiet:
        after = store.resolve(str(reference))
        news = "Image is up to date for" if before == after else "Downloaded newer image for"
        click.echo(f"Digest: {after.digest}\nStatus: {news} {reference.familiar()} ({image.id[7:19]})")
    click.echo(str(reference))


@click.command()
@STORE
@_PLATFORM
@INSECURE
@_QUIET
@click.argument("name")
@told
def push(
    directory: Path | None, platform: str | None, insecure: tuple[str, ...], quiet: bool, name: str
) -> None:
    """Upload an image to the registry in its NAME, where what is there already is not sent."""
    from kit.images import Platform, Reference
    from kit.registries import push
    from kit.registries.progress import Printer

    reference = Reference.parse(name)
    if not quiet:
        click.echo(f"The push refers to repository [{reference.registry}/{reference.repository}]")
    pushed = push(
        opened(directory),
        name,
        platform=Platform.parse(platform) if platform else None,
        progress=None if quiet else Printer(sys.stdout, "Push"),
        insecure=insecure,
    )
    if quiet:
        click.echo(str(reference))
    else:
        click.echo(f"{reference.tag}: digest: {pushed.digest} size: {pushed.size}")


@click.command()
@INSECURE
@click.argument("name")
@told
def tags(insecure: tuple[str, ...], name: str) -> None:
    """List the tags that the repository NAME has in its registry."""
    from kit.registries import tags

    for one in tags(name, insecure=insecure):
        click.echo(one)


COMMANDS = (pull, push, tags)
