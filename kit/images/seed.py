"""The base images, from what is on this machine into a store; and where the store is. See the XDG base
directory specification for that, and the OCI image-spec, annotations.md, for the labels.

The same machine gives the same digests each time, since all say that they were made at :data:`CREATED`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from kit import owner
from kit.images import bases, documents
from kit.images.commit import Draft, put_layer, timestamp
from kit.images.entry import Entry
from kit.images.errors import BlobMissing, ImageError, UnknownImage
from kit.images.image import Image
from kit.images.reference import Reference
from kit.images.store import Store

CREATED = "2026-01-01T00:00:00Z"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_LABEL = "org.opencontainers.image."

_Layers = Sequence[tuple[str, Callable[[], list[Entry]]]]  # lowest first, each with the line that makes it
_BUSYBOX = ("ADD busybox.tar /", bases.busybox)
_PYTHON = (f"ADD python-{sys.version_info[0]}.{sys.version_info[1]}.tar /", bases.python)
_BASES: dict[str, tuple[str, _Layers, dict[str, Any]]] = {
    "hello-world": ("Greets and ends", [("COPY hello /", bases.hello_world)], {"Cmd": ["/hello"]}),
    "busybox": (
        "A shell and the usual programs, in one file",
        [_BUSYBOX],
        {"Cmd": ["sh"], "Env": [f"PATH={PATH}"]},
    ),
    "python": (
        "Python with its standard library, and a shell",
        [_BUSYBOX, _PYTHON],
        {"Cmd": ["python3"], "Env": [f"PATH={PATH}"]},
    ),
}
BASES = tuple(_BASES)


def seed(store: Store, names: Iterable[str] = BASES) -> dict[str, Image]:
    """The base images of these names; those that the store doesn't have are made.

    Raises :class:`UnknownImage` for a name that is not in :data:`BASES`, and :class:`NotOnHost`.
    """
    names = [names] if isinstance(names, str) else list(names)
    if unknown := [name for name in names if name not in _BASES]:
        raise UnknownImage(f"{unknown[0]!r} is no base image", remedy=f"There are {', '.join(BASES)}.")
    return {name: _there(store, name) or _make(store, name) for name in names}


def _there(store: Store, name: str) -> Image | None:
    try:
        image = Image.find(store, name)
        image.check()
    except (UnknownImage, BlobMissing):
        return None
    return image


def _make(store: Store, name: str) -> Image:
    description, layers, config = _BASES[name]
    labels = {f"{_LABEL}title": name, f"{_LABEL}description": description}
    return _write(store, name, layers, {**config, "Labels": labels}, CREATED)


def _write(store: Store, name: str, layers: _Layers, config: dict[str, Any], created: str) -> Image:
    """An image as the Dockerfile would make it that its history shows."""
    draft = Draft(store, None)
    draft.config = config
    with store.writing():
        for line, entries in layers:
            draft.add(put_layer(store, entries()), created=created, created_by=line)
        for variable in config.get("Env", ()):
            draft.add(None, created=created, created_by=f"ENV {variable}")
        if config["Cmd"]:
            command = documents.encode(config["Cmd"]).decode()
            draft.add(None, created=created, created_by=f"CMD {command}")
        image = draft.write()
        store.tag(str(Reference.parse(name)), image.descriptor)
    return image


def from_host(store: Store, programs: Iterable[str], name: str, *, cmd: Sequence[str] | None = None) -> Image:
    """The smallest image that holds these programs of this machine and all that they load, as ``name``.

    It runs ``cmd``, by default the first of the programs. Raises as :func:`kit.images.bases.from_host`, which
    says what can't be seen from outside, and :class:`BadReference`.
    """
    programs = list(programs)
    Reference.parse(name)
    entries = bases.from_host(programs)
    places = [str(bases.place(word).absolute()) for word in programs]
    config = {"Cmd": places[:1] if cmd is None else list(cmd), "Env": [f"PATH={PATH}"]}
    return _write(store, name, [(f"COPY {' '.join(places)} /", lambda: entries)], config, timestamp())


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

    def __exit__(self, *error: object) -> None:
        self.close()
