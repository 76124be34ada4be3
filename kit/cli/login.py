"""`kit login` and `kit logout`: credentials are tried before they are kept, where Docker keeps its own."""

from __future__ import annotations

import sys

import click

from kit.cli.pull import INSECURE
from kit.cli.store import told


@click.command()
@click.option("-u", "--username", help="Who you are there; asked for if missing.")
@click.option("-p", "--password", help="It stays in your shell's history: better let it be asked for.")
@click.option("--password-stdin", is_flag=True, help="Read the password from the standard input.")
@INSECURE
@click.argument("registry", default="docker.io", metavar="[HOST]")
@told
def login(
    username: str | None, password: str | None, password_stdin: bool, insecure: tuple[str, ...], registry: str
) -> None:
    """Log in to a registry, by default Docker Hub."""
    from kit.registries import credentials
    from kit.registries.client import Client
    from kit.registries.refusals import check

    if password_stdin:
        if password is not None or not username:
            raise click.UsageError("--password-stdin goes with --username, and without --password")
        password = sys.stdin.read().rstrip("\r\n")
    username = username or click.prompt("Username")
    if password is None:
        password = click.prompt("Password", hide_input=True)
    if ":" in username or not username or not password:
        raise click.ClickException("a user's name has no colon, and neither it nor the password is empty")
    given = credentials.Credentials(username, password)
    with Client(registry, insecure=insecure, credentials=given) as client:
        check(client.get("/v2/"), f"log in as {username}", registry, 200)
    click.echo(f"Credentials are kept in {credentials.store(registry, given)}", err=True)
    click.echo("Login Succeeded")


@click.command()
@click.argument("registry", default="docker.io", metavar="[HOST]")
@told
def logout(registry: str) -> None:
    """Forget the credentials for a registry, by default Docker Hub's."""
    from kit.registries import credentials

    known = credentials.erase(registry)
    click.echo(f"Removing login credentials for {registry}" if known else f"Not logged in to {registry}")


COMMANDS = (login, logout)
