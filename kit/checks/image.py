"""What the checks of chapter 05 look at: what an image holds, and what a process started from it says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from kit.checks.feedback import NotYet
from kit.checks.look import described

if TYPE_CHECKING:
    from kit.images import Image


class File(NamedTuple):
    """A regular file of an image: its permission bits, and its content in bytes."""

    mode: int
    data: bytes


def image_of(answer: object, variable: str = "image") -> Image:
    """An image whose parts are all there: the answer is one of the kit's. Raises NotYet."""
    from kit.images import Image, ImageError

    if not isinstance(answer, Image):
        raise NotYet(f"`{variable}` is {described(answer)} and no `Image`")
    try:
        answer.check()
    except ImageError as error:
        raise NotYet(f"`{variable}` can't be read: {str(error).rstrip('.')}") from error
    return answer


def settings_of(image: Image) -> dict[str, Any]:
    """How the image wants to be started: "config" in its configuration."""
    settings = image.config.get("config")
    return settings if isinstance(settings, dict) else {}


def files_of(image: Image) -> dict[str, File]:
    """The regular files that a container would see, by path without the slash at the front."""
    from kit.images import mount

    found = {}
    with mount(image.store, image, read_only=True) as root:
        for path in root.path.rglob("*"):
            if path.is_file() and not path.is_symlink():
                found[str(path.relative_to(root.path))] = File(
                    path.stat().st_mode & 0o7777, path.read_bytes()
                )
    return found


def ever_in(image: Image) -> set[str]:
    """Every path but directories that any of its layers holds, covered by a later one or not."""
    from kit.images.explore import explore

    changes = [change for layer in explore(image).layers for change in layer.changes]
    return {
        change.path for change in changes if change.after is not None and change.after.kind != "directory"
    }


def output_of(image: Image, argv: Sequence[str] | None = None) -> str:
    """What a process says that is started as the image's configuration wants it, or with another command."""
    from kit.images import mount
    from kit.images.build.metadata import environment
    from kit.images.build.run import run
    from kit.images.build.users import find
    from kit.images.seed import PATH

    settings = settings_of(image)
    words = (
        [*(settings.get("Entrypoint") or ()), *(settings.get("Cmd") or ())] if argv is None else list(argv)
    )
    if not words:
        raise NotYet("the image doesn't say what is to be started", "a command", "`CMD`")
    said = bytearray()
    with mount(image.store, image) as root:
        run(
            root,
            words,
            env={"PATH": PATH, **environment(settings)},
            cwd=settings.get("WorkingDir") or "/",
            user=find(root.path, settings.get("User") or "0", "the configuration"),
            output=said.extend,
            timeout=20,
        )
    return said.decode(errors="replace")
