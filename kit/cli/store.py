"""What the commands for images have in common: which store is meant, and how an error is told."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec

import click

if TYPE_CHECKING:
    from kit.images import Store

P = ParamSpec("P")

STORE = click.option(
    "--store",
    "directory",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Where the images are kept; by default $KIT_IMAGES, or else in ~/.local/share/kit/images.",
)


def told(function: Callable[P, None]) -> Callable[P, None]:
    """Of what a command can't do, one line and the exit status 1 are shown."""

    @functools.wraps(function)
    def command(*args: P.args, **kwargs: P.kwargs) -> None:
        from kit.images.errors import ImageError

        try:
            function(*args, **kwargs)
        except BrokenPipeError:  # the reader of our output has gone, which click knows how to end
            raise
        except (ImageError, OSError) as error:
            raise click.ClickException(message(error)) from None

    return command


def message(error: Exception) -> str:
    """An error as one line, and a line for each of its notes."""
    text = str(error)
    if type(error).__module__ == "builtins" and isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    notes = getattr(error, "__notes__", [])
    return "\n".join(" ".join(line.split()) for line in (text, *notes))


def opened(directory: Path | None) -> Store:
    """The store that the options name."""
    from kit.images import open_store

    return open_store(directory or click.get_current_context().find_object(Path))
