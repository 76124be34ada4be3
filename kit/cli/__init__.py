"""The ``kit`` command: a thin door to the rooms, each opened when it is used."""

from __future__ import annotations

import sys

import click

from kit.cli import build, docker, engine, images, login, pull, registry, runtime


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="kit-containers", prog_name="kit")
def main() -> None:
    """Containers, from the kernel up: the course's tools."""


@main.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object for machines.")
def doctor(as_json: bool) -> None:
    """Try out what this machine can do for the course.

    Exit status 0 when all that the chapters need works, 1 when something is missing.
    """
    from kit.preflight import report

    found = report()
    click.echo(found.to_json() if as_json else str(found))
    sys.exit(0 if found.ok else 1)


@main.command()
@click.option("--dry-run", is_flag=True, help="Only list what would be removed.")
def clean(dry_run: bool) -> None:
    """Remove what killed programs of the course left behind: control groups, mounts, directories.

    Only what the kit itself noted down before making it is removed, by exact name. Programs that still run
    keep theirs.
    """
    from kit import owner

    try:
        found = owner.leftovers() if dry_run else owner.clean()
    except OSError as error:
        raise click.ClickException(f"not everything could be removed: {error}") from None
    for owned in found:
        click.echo(f"{'would remove' if dry_run else 'removed'} {owned.kind} {owned.path}")
    if not found:
        click.echo("Nothing is left behind.", err=dry_run)


@main.command()
def progress() -> None:
    """Show which exercises are solved."""
    from kit.checks.progress import table

    try:
        click.echo(table())
    except OSError as error:
        raise click.ClickException(str(error)) from None


for command in (
    build.build,
    *images.COMMANDS,
    *pull.COMMANDS,
    *login.COMMANDS,
    registry.registry,
    engine.engine,
    docker.docker_,
    runtime.runtime,
    runtime.bundle,
):
    main.add_command(command)
