"""The commands for images, with the names and options of `docker`."""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal

import click

from kit.cli.store import STORE, message, opened, told

if TYPE_CHECKING:
    from kit.show import Table


def _show(table: Table) -> None:
    click.echo(str(table).partition("\n")[2])  # a terminal needs no title


@click.group(invoke_without_command=True)
@STORE
@click.option("-q", "--quiet", is_flag=True, help="Only the ids.")
@click.option("--digests", is_flag=True, help="With the manifests' digests.")
@click.pass_context
@told
def images(context: click.Context, directory: Path | None, quiet: bool, digests: bool) -> None:
    """List the images, or make some from what is on this machine."""
    context.obj = directory
    if context.invoked_subcommand:
        return
    from kit.images import find, shown

    store = opened(directory)
    if quiet:
        for image_id in dict.fromkeys(image.id for _, image in find.images(store)):
            click.echo(image_id[7:19])
    else:
        _show(shown.images(store, digests))


@images.command()
@STORE
@click.argument("names", nargs=-1, metavar="[NAME]...")
@told
def seed(directory: Path | None, names: tuple[str, ...]) -> None:
    """Make the base images that are not there: hello-world, busybox, python."""
    from kit.images import seed

    store = opened(directory)
    for name, image in (seed(store, names) if names else seed(store)).items():
        click.echo(f"{image.id[7:19]}  {name}")


@images.command("from-host")
@STORE
@click.option("-t", "--tag", "name", required=True, metavar="NAME", help="What the image is called.")
@click.argument("programs", nargs=-1, required=True, metavar="PROGRAM...")
@told
def from_host(directory: Path | None, name: str, programs: tuple[str, ...]) -> None:
    """Make the smallest image with these programs and everything they load.

    The first is what it runs. A directory comes with all it holds.
    """
    from kit.images import from_host

    click.echo(f"{from_host(opened(directory), programs, name).id[7:19]}  {name}")


@click.command()
@STORE
@click.option("--no-trunc", is_flag=True, help="Whole lines and ids.")
@click.argument("image")
@told
def history(directory: Path | None, no_trunc: bool, image: str) -> None:
    """Show how an image came about, newest line first."""
    from kit.images import Image, shown

    _show(shown.history(Image.find(opened(directory), image), cut=not no_trunc))


@click.command()
@STORE
@click.argument("names", nargs=-1, required=True, metavar="IMAGE...")
@told
def inspect(directory: Path | None, names: tuple[str, ...]) -> None:
    """Show all about images, as JSON."""
    from kit.images import Image, shown

    store = opened(directory)
    found = [shown.inspect(Image.find(store, name)) for name in names]
    click.echo(json.dumps(found, indent=4))


@click.command()
@STORE
@click.argument("source")
@click.argument("target")
@told
def tag(directory: Path | None, source: str, target: str) -> None:
    """Give the image SOURCE another name, TARGET."""
    from kit.images import Reference
    from kit.images.errors import BadReference
    from kit.images.find import name_of

    store = opened(directory)
    if (reference := Reference.parse(target)).digest:
        raise BadReference("a name to give has no digest: it stands for what it is given to", target)
    store.tag(str(reference), store.resolve(name_of(store, source)))


@click.command()
@STORE
@click.option("-f", "--force", is_flag=True, help="With an id: take all its names away.")
@click.argument("names", nargs=-1, required=True, metavar="IMAGE...")
@told
def rmi(directory: Path | None, force: bool, names: tuple[str, ...]) -> None:
    """Remove names, and with an image's last one what no other image needs."""
    from kit.images.errors import ImageError
    from kit.images.gc import untag
    from kit.images.shown import split

    store, failed = opened(directory), False
    for name in names:
        try:
            untagged, removed = untag(store, name, force)
        except ImageError as error:
            click.echo(f"Error: {message(error)}", err=True)
            failed = True
            continue
        for one in untagged:
            click.echo(f"Untagged: {':'.join(split(one))}")
        for digest in removed.blobs:
            click.echo(f"Deleted: {digest}")
    sys.exit(failed)


@click.command()
@STORE
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Write to a file, not to the standard output."
)
@click.option(
    "--format",
    "layout",
    type=click.Choice(["docker", "docker-old", "oci"]),
    default="docker",
    show_default=True,
    help="docker: for Docker, and an OCI layout too; docker-old: for Docker before 25; oci: a layout alone.",
)
@click.argument("names", nargs=-1, required=True, metavar="IMAGE...")
@told
def save(
    directory: Path | None,
    output: Path | None,
    layout: Literal["docker", "docker-old", "oci"],
    names: tuple[str, ...],
) -> None:
    """Write images to a tar archive."""
    from kit.images import save

    if output is None and sys.stdout.isatty():
        raise click.ClickException("an archive is nothing for a terminal: name a file with -o")
    store = opened(directory)
    with _output(output) as out:
        save(store, names, out, layout)


@contextmanager
def _output(path: Path | None) -> Iterator[BinaryIO]:
    """The file to write to; a regular one gets its name when it is whole."""
    if path is None:
        yield sys.stdout.buffer
        return
    if path.exists() and not path.is_file():
        with path.open("wb") as out:
            yield out
        return
    temporary = path.with_name(f".{path.name[:200]}-{secrets.token_hex(4)}")
    try:
        with temporary.open("xb") as out:
            yield out
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@click.command()
@STORE
@click.option(
    "-i",
    "--input",
    "source",
    type=click.Path(path_type=Path),
    help="Read from a file or an OCI layout's directory, not from the standard input.",
)
@click.option("--name", default="", help="A name for the only image, in place of its own.")
@told
def load(directory: Path | None, source: Path | None, name: str) -> None:
    """Load images from an archive, of Docker or OCI, or from an OCI layout."""
    from kit.images import load
    from kit.images.shown import split

    if source is None and sys.stdin.isatty():
        raise click.ClickException("there is no archive: name a file with -i, or redirect one")
    for one in load(opened(directory), source or sys.stdin.buffer, name):
        click.echo(f"Loaded image: {':'.join(split(one))}")


@click.command()
@STORE
@click.option("-f", "--force", is_flag=True, help="Don't ask.")
@click.option("--dry-run", is_flag=True, help="Only list what would be removed.")
@told
def prune(directory: Path | None, force: bool, dry_run: bool) -> None:
    """Remove what belongs to no named image: blobs, unpacked layers, what the build cache knows of them."""
    from kit.images import prune
    from kit.show import size

    store = opened(directory)
    if not force and not dry_run:
        click.confirm("Remove everything that no image needs?", abort=True)
    found = prune(store, dry_run)
    done = "would delete" if dry_run else "Deleted"
    kinds = {"blob": found.blobs, "snapshot": found.snapshots, "cached step": found.cached}
    for kind, digests in kinds.items():
        for digest in digests:
            click.echo(f"{done} {kind}: {digest}")
    click.echo(f"{'To be reclaimed' if dry_run else 'Total reclaimed space'}: {size(found.size)}")


COMMANDS = (images, history, inspect, tag, rmi, save, load, prune)
