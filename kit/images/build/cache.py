"""What a step came to the last time: a file per step, found by all that the step depends on.

    <store>/cache/<hex>    {"created": ..., "layer": its descriptor or null, "diff_id": ...}

The key is a digest over what Docker takes: the parent (its configuration and diff ids), the instruction as it
is after expansion, and what else may change its outcome: for a RUN the ARGs in scope, the network and the
user's shell; for a COPY or ADD the content, owners and modes of what is copied, and not its times. A step
without a layer (ENV, CMD ...) has its file as well: CACHED says of every step that it was done before, in
the same state. The cache is weak: it keeps no layer alive, and an entry whose layer is gone is no entry.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kit.images import documents
from kit.images.blob import as_kernel_error, new_file, write_all
from kit.images.descriptor import Descriptor, digest_of
from kit.images.errors import ImageError
from kit.images.store import Store


def key(parent: str, **depends: Any) -> str:
    """The digest that stands for a step on ``parent``; ``depends`` is anything that JSON can hold."""
    return digest_of(documents.encode({"parent": parent, **depends}))


@dataclass(frozen=True)
class Outcome:
    """What a step came to: its ``layer`` and the diff id of that, if it made one, and when it was made."""

    created: str
    layer: Descriptor | None = None
    diff_id: str = ""


class Cache:
    """The cache of a store; several builds may use it at once."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.directory = store.directory / "cache"

    def _path(self, key: str) -> Path:
        return self.directory / key.removeprefix("sha256:")

    def find(self, key: str) -> Outcome | None:
        """The outcome of a step, or None where it isn't known or its layer has been removed."""
        try:
            return self._read(self._path(key))
        except FileNotFoundError:
            return None

    def _read(self, path: Path) -> Outcome | None:
        try:
            found = documents.parse(path.read_bytes(), path)
            layer = None if found["layer"] is None else Descriptor.from_json(found["layer"])
            outcome = Outcome(str(found["created"]), layer, str(found["diff_id"]))
        except (ImageError, KeyError):  # cut short by a power cut: it is written again
            return None
        return outcome if layer is None or self.store.has(layer.digest) else None

    def put(self, key: str, outcome: Outcome) -> None:
        """Keep an outcome. It need not survive a power cut, so it is renamed into place and not synced."""
        document = {
            "created": outcome.created,
            "layer": None if outcome.layer is None else outcome.layer.to_json(),
            "diff_id": outcome.diff_id,
        }
        with as_kernel_error("keep a build's step in", self.directory):
            self.directory.mkdir(exist_ok=True)
            with new_file(self.store.unfinished) as (fd, temporary):
                write_all(fd, documents.encode(document))
                os.replace(temporary, self._path(key))
