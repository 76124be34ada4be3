"""The command for a registry."""

from __future__ import annotations

import signal
from pathlib import Path

import click

from kit.cli.store import told

_HUB = "https://registry-1.docker.io"
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.option(
    "--listen", default="127.0.0.1:5000", show_default=True, metavar="HOST:PORT", help="Where to listen."
)
@click.option(
    "--storage",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Where the images are kept; by default in registry, beside the images of `kit images`.",
)
@click.option(
    "--htpasswd", type=_FILE, help="Users who may push, as `htpasswd -B` writes them; all may pull."
)
@click.option("--tls-cert", type=_FILE, help="The server's certificate, in PEM.")
@click.option("--tls-key", type=_FILE, help="The key of the certificate, in PEM.")
@click.option(
    "--mirror-of",
    metavar="[URL]",
    is_flag=False,
    flag_value=_HUB,
    help="Fetch from this registry, by default the Hub, what is asked for, and keep it.",
)
@click.option("--read-only", is_flag=True, help="Refuse to change anything.")
@click.option("--delete/--no-delete", default=True, show_default=True, help="Whether clients may delete.")
@told
def registry(
    listen: str,
    storage: Path | None,
    htpasswd: Path | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    mirror_of: str | None,
    read_only: bool,
    delete: bool,
) -> None:
    """Serve images to docker, podman, skopeo, kit and others, until it is interrupted.

    A new one holds hello-world, busybox and python, as the Hub does, unless it is a mirror.
    """
    from kit.images.errors import ImageError
    from kit.images.seed import default_directory
    from kit.images.store import Store
    from kit.registries.server import put_base_images, serve

    if (tls_cert is None) != (tls_key is None):
        raise click.UsageError("--tls-cert and --tls-key go together")
    directory = storage or default_directory().with_name("registry")
    is_new = not (directory / "index.json").exists()
    store = Store(directory)
    if is_new and not mirror_of and not read_only:
        try:
            put_base_images(store)
        except ImageError as error:
            click.echo(f"Without the base images: {error}", err=True)
    ends = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)  # in the threads that follow too
    tls = (tls_cert, tls_key) if tls_cert and tls_key else None
    with serve(
        directory,
        listen,
        htpasswd=htpasswd,
        tls=tls,
        mirror_of=mirror_of,
        read_only=read_only,
        delete=delete,
        log=click.echo,
    ) as started:
        click.echo(f"Serving {directory} at {started.url}")
        signal.sigwait(ends)
