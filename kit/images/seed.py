"""The base images, from what is on this machine into a store; and where the store is. See the XDG base
directory specification for that, and the OCI image-spec, annotations.md, for the labels.

The same machine gives the same digests each time: the images say of themselves that they are as old as
:data:`CREATED`, whenever that is said.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from kit import owner
from kit.images import bases, documents
from kit.images.commit import put_layer, timestamp
from kit.images.entry import Entry
from kit.images.errors import BlobMissing, ImageError, UnknownImage
from kit.images.image import Image, write_image
from kit.images.reference import Reference
from kit.images.store import Store

CREATED = "2026-01-01T00:00:00Z"
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_LABEL = "org.opencontainers.image."


@dataclass(frozen=True)
class _Base:
    """What a base image is made of: layers, lowest first, each with the line that made it."""

    description: str
    layers: Sequence[tuple[str, Callable[[], list[Entry]]]]
    command: str
    environment: Sequence[str] = (PATH,)


_BUSYBOX = ("ADD busybox.tar /", bases.busybox)
_PYTHON = (f"ADD python-{sys.version_info[0]}.{sys.version_info[1]}.tar /", bases.python)
_BASES = {
    "hello-world": _Base("Greets and ends", [("COPY hello /", bases.hello_world)], "/hello", ()),
    "busybox": _Base("A shell and the usual programs, in one file", [_BUSYBOX], "sh"),
    "python": _Base("Python with its standard library, and a shell", [_BUSYBOX, _PYTHON], "python3"),
}
BASES = tuple(_BASES)


def seed(store: Store, names: Iterable[str] = BASES) -> dict[str, Image]:
    """The base images of these names; those that the store doesn't have are made.

    Raises :class:`UnknownImage` for a name that is not in :data:`BASES`, before anything is made, and
    :class:`NotOnHost` where this machine has no static busybox.
    """
    names = [names] if isinstance(names, str) else list(names)
    if unknown := [name for name in names if name not in _BASES]:
        raise UnknownImage(f"{unknown[0]!r} is no base image", remedy=f"There are {', '.join(BASES)}.")
    return {name: _there(store, name) or _make(store, name, _BASES[name]) for name in names}


def _there(store: Store, name: str) -> Image | None:
    try:
        image = Image.find(store, name)
        image.check()
    except (UnknownImage, BlobMissing):
        return None
    return image


def _make(store: Store, name: str, base: _Base) -> Image:
    config: dict[str, Any] = {
        "Cmd": [base.command],
        "Labels": {f"{_LABEL}title": name, f"{_LABEL}description": base.description},
    }
    if base.environment:
        config["Env"] = list(base.environment)
    return _write(store, name, [(line, entries()) for line, entries in base.layers], config, CREATED)


def _write(
    store: Store, name: str, layers: list[tuple[str, list[Entry]]], config: dict[str, Any], created: str
) -> Image:
    """An image as the Dockerfile would make it that its history shows."""
    settings = [f"ENV {one}" for one in config.get("Env", ())]
    if config.get("Cmd"):
        settings.append(f"CMD {documents.encode(config['Cmd']).decode()}")
    history = [
        *({"created": created, "created_by": line} for line, _ in layers),
        *({"created": created, "created_by": line, "empty_layer": True} for line in settings),
    ]
    whole = {"created": created, "config": config, "history": history}
    with store.writing():
        written = [put_layer(store, entries) for _, entries in layers]
        descriptor = write_image(store, written, whole)
        store.tag(str(Reference.parse(name)), descriptor)
    return Image.of(store, descriptor)


def from_host(store: Store, programs: Iterable[str], name: str, *, cmd: Sequence[str] | None = None) -> Image:
    """The smallest image that holds these programs of this machine and all that they load, as ``name``.

    It runs ``cmd``, by default the first of the programs. See :func:`kit.images.bases.from_host` for what
    can't be seen from outside, and for the errors; raises :class:`BadReference` for the name as well.
    """
    programs = list(programs)
    Reference.parse(name)
    entries = bases.from_host(programs)
    places = [str(Path(word if "/" in word else shutil.which(word) or word).absolute()) for word in programs]
    command = list(cmd) if cmd is not None else places[:1]
    config = {"Cmd": command, "Env": [PATH]}
    return _write(store, name, [(f"COPY {' '.join(places)} /", entries)], config, timestamp())


def default_directory() -> Path:
    """Where images are kept: $KIT_IMAGES, or else kit/images below $XDG_DATA_HOME or ~/.local/share.

    Raises ImageError for a user without a home directory.
    """
    if chosen := os.environ.get("KIT_IMAGES"):
        return Path(chosen)
    data = Path(os.environ.get("XDG_DATA_HOME", ""))
    if data.is_absolute():  # the specification says that anything else is to be ignored
        return data / "kit/images"
    try:
        return Path.home() / ".local/share/kit/images"
    except RuntimeError:
        raise ImageError("no home directory to keep images in", remedy="Say where: set KIT_IMAGES.") from None


def open_store(path: str | Path | None = None) -> Store:
    """The store in ``path``, by default in :func:`default_directory`; made where there is none."""
    return Store(default_directory() if path is None else path)


def scratch_store() -> ScratchStore:
    """A store to try things out in, gone at the end of the program or of a ``with`` block."""
    return ScratchStore(owner.scratch("images"))


class ScratchStore(Store):
    """A store in a temporary directory of this program; :meth:`close` removes it with all it holds."""

    def close(self) -> None:
        """Remove it, what is mounted in it included."""
        owner.release(owner.Owned("directory", str(self.directory)))

    def __enter__(self) -> ScratchStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
