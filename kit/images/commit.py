"""A new image out of one that there is: the changes as one more layer, and what is to be run, noted down.

So `docker commit` works, and each instruction of a Dockerfile. The images share the layers below. See the OCI
image-spec, config.md: "history" says for each layer how it came about, and of the rest "empty_layer".
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from kit.images.compression import Compression
from kit.images.descriptor import Descriptor
from kit.images.documents import Document
from kit.images.entry import Entry
from kit.images.errors import ImageError
from kit.images.image import Image, write_image
from kit.images.layer import pack
from kit.images.store import Store

_KEPT = ("author", "architecture", "variant", "os", "os.version", "os.features")  # of the base's config.md


def commit(
    store: Store,
    base: Image | None,
    entries: Iterable[Entry] | None,
    config: Mapping[str, Any] | None = None,
    *,
    created_by: str,
    created: str | None = None,
    compression: Compression | None = "gzip",
) -> Image:
    """The image ``base`` with ``entries`` as a layer on top, or with None just another ``config``.

    ``config`` (Env, Cmd, WorkingDir …) takes the place of the base's, which is kept where there is none.
    ``created_by`` is the line for the history, ``created`` a time as :func:`timestamp` gives it. The same
    arguments give the same digest. The image has no name yet: hold :meth:`Store.writing` from here to the
    tag. Raises as :func:`kit.images.layer.pack`, and KernelError where it can't be written.
    """
    draft = Draft(store, base)
    if config is not None:
        draft.config = dict(config)
    layer = None if entries is None else put_layer(store, entries, compression)
    draft.add(layer, created=created or timestamp(), created_by=created_by)
    return draft.write()


class Draft:
    """An image on the way: ``base``, or nothing, and what has been done to it so far.

    ``layers`` are lowest first, each with its diff id; ``config`` says what is to be run (Env, Cmd,
    WorkingDir …), ``history`` has a line for every change.
    """

    def __init__(self, store: Store, base: Image | None) -> None:
        self.store, self.base = store, base
        self.layers: list[tuple[Descriptor, str]] = []
        self.whole: Document = {}
        self.config: Document = {}
        self.history: list[Document] = []
        if base is not None:
            self.layers = list(zip(base.layers, base.diff_ids, strict=True))
            self.whole = {key: base.config[key] for key in _KEPT if key in base.config}
            self.config = copy.deepcopy(base.config.get("config") or {})
            self.history = [*base.history] or [{} for _ in self.layers]  # some tools write none

    def add(self, layer: tuple[Descriptor, str] | None, *, created: str, created_by: str) -> None:
        """Note a change: its layer, which is in the store already, or None where it made none."""
        line: Document = {"created": created, "created_by": created_by}
        if layer is None:
            line["empty_layer"] = True
        else:
            self.layers.append(layer)
        self.history.append(line)
        self.whole["created"] = created
        self.base = None

    def write(self) -> Image:
        """The image as it is so far; the base itself where nothing was done to it."""
        if self.base is not None:
            return self.base
        whole = {**self.whole, "config": self.config, "history": self.history}
        return Image.of(self.store, write_image(self.store, self.layers, whole))


def put_layer(
    store: Store, entries: Iterable[Entry], compression: Compression | None = "gzip"
) -> tuple[Descriptor, str]:
    """Pack the entries into a blob of the store; its descriptor and its diff id."""
    with store.writer() as out:
        layer = pack(entries, out, compression)
        out.commit()
    return Descriptor(layer.media_type, layer.digest, layer.size), layer.diff_id


def chosen_epoch(given: int | None = None) -> int | None:
    """The time, in seconds since 1970, with which a build gives the same bytes tomorrow; None for now.

    It is the one ``given``, or else that in $SOURCE_DATE_EPOCH. Raises ImageError for what is no such time.
    """
    chosen = os.environ.get("SOURCE_DATE_EPOCH") or None if given is None else given
    try:
        seconds = None if chosen is None else int(chosen)
        datetime.fromtimestamp(seconds or 0, UTC)
    except (ValueError, OverflowError, OSError):
        remedy = "Unset it, or set it to the output of `date +%s`."
        what = f"{chosen!r} is no time in seconds since 1970"
        raise ImageError(what, "SOURCE_DATE_EPOCH", remedy) from None
    return seconds


def timestamp(seconds: int | None = None) -> str:
    """A time as images write it, "2026-01-31T12:00:00Z"; by default that of :func:`chosen_epoch`."""
    epoch = chosen_epoch(seconds)
    moment = datetime.now(UTC) if epoch is None else datetime.fromtimestamp(epoch, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
