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
from typing import Any

from kit.images import documents
from kit.images.blob import as_kernel_error, new_file, write_all
from kit.images.descriptor import Descriptor, digest_of
from kit.images.errors import ImageError
from kit.images.store import Store


@dataclass(frozen=True)
class Outcome:
    """What a step came to: when it was made, and its layer with the diff id of that, if it made one."""

    created: str
    layer: tuple[Descriptor, str] | None = None


class Cache:
    """The cache of a store; several builds may use it at once."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.directory = store.directory / "cache"

    def find(self, key: str) -> Outcome | None:
        """The outcome of a step, or None where it isn't known or its layer has been removed."""
        path = self.directory / key
        try:
            found = documents.parse(path.read_bytes(), path)
            outcome = Outcome(str(found["created"]))
            if found["layer"] is not None:
                layer = Descriptor.from_json(found["layer"])
                outcome = Outcome(outcome.created, (layer, str(found["diff_id"])))
        except (FileNotFoundError, ImageError, KeyError):  # one cut short by a power cut is written again
            return None
        return outcome if outcome.layer is None or self.store.has(outcome.layer[0].digest) else None

    def put(self, key: str, outcome: Outcome) -> None:
        """Keep an outcome. It need not survive a power cut, so it is renamed into place and not synced."""
        layer, diff_id = outcome.layer or (None, "")
        document = {
            "created": outcome.created,
            "layer": layer and layer.to_json(),
            "diff_id": diff_id,
        }
        with as_kernel_error("keep a build's step in", self.directory):
            self.directory.mkdir(exist_ok=True)
            with new_file(self.store.unfinished) as (fd, temporary):
                write_all(fd, documents.encode(document))
                os.replace(temporary, self.directory / key)


def key(**depends: Any) -> str:
    """The hexadecimal digits that stand for a step; ``depends`` is anything that JSON can hold."""
    return digest_of(documents.encode(depends)).removeprefix("sha256:")
