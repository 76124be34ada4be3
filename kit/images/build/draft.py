"""An image on the way: what the steps so far came to. It is written when the last one is done."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kit.images import documents
from kit.images.build.cache import Outcome
from kit.images.descriptor import OCI_CONFIG, Descriptor, Platform, digest_of
from kit.images.documents import Document
from kit.images.image import Image, write_image
from kit.images.store import Store

#: What an image hands on to those built from it, of the keys in config.md that stand beside "config".
_INHERITED = ("architecture", "variant", "os", "os.version", "os.features", "author")


@dataclass
class Draft:
    """``config`` is the part of that name in the image's configuration (Env, Cmd, WorkingDir ...).

    ``layers`` are lowest first, each with its diff id; ``history`` has a line for every instruction, and
    ``created`` is the last one's time. ``whole`` has what else is inherited, and ``base`` is the image itself
    as long as nothing was done to it.
    """

    store: Store
    base: Image | None = None
    whole: Document = field(default_factory=dict)
    config: Document = field(default_factory=dict)
    layers: list[tuple[Descriptor, str]] = field(default_factory=list)
    history: list[Document] = field(default_factory=list)
    created: str = ""

    @classmethod
    def on(cls, store: Store, image: Image | None) -> Draft:
        """What a stage begins with: an image, or nothing at all (FROM scratch)."""
        if image is None:
            return cls(store, whole=dict(Platform.here().to_json()))
        return cls(
            store,
            image,
            {key: image.config[key] for key in _INHERITED if key in image.config},
            copy.deepcopy(image.config.get("config") or {}),
            list(zip(image.layers, image.diff_ids, strict=True)),
            list(image.history) or [{} for _ in image.layers],  # some tools write none
            image.config.get("created") or "",
        )

    def copy(self) -> Draft:
        """A draft that goes on from here by itself, for a stage that begins FROM this one."""
        return Draft(
            self.store,
            self.base,
            dict(self.whole),
            copy.deepcopy(self.config),
            list(self.layers),
            list(self.history),
            self.created,
        )

    @property
    def env(self) -> dict[str, str]:
        """The environment that the image gives to its programs."""
        return dict(one.partition("=")[::2] for one in self.config.get("Env") or ())

    def key(self) -> str:
        """A digest of all that a next step can depend on: the configuration and the files, and no times.

        And how many steps there were, so that the same RUN twice is done twice.
        """
        return digest_of(documents.encode([self.whole, self.config, self.files(), len(self.history)]))

    def files(self) -> str:
        """A digest of the files alone."""
        return digest_of(documents.encode([diff_id for _, diff_id in self.layers]))

    def add(self, created_by: str, outcome: Outcome) -> None:
        """Note what an instruction came to."""
        line: Document = {"created": outcome.created, "created_by": created_by}
        if outcome.layer is None:
            line["empty_layer"] = True
        else:
            self.layers.append((outcome.layer, outcome.diff_id))
        self.history.append(line)
        self.created = outcome.created
        self.base = None

    def image(self) -> Image | None:
        """The files so far as an image that can be mounted and has no manifest yet; None without layers."""
        return _Unwritten(self) if self.layers else None

    def write(self, labels: Mapping[str, str]) -> Image:
        """The image, written; or the base itself where nothing was changed."""
        if self.base is not None and not labels:
            return self.base
        config: dict[str, Any] = dict(self.config)
        if labels:
            config["Labels"] = {**(config.get("Labels") or {}), **labels}
        whole = {**self.whole, "config": config, "history": self.history}
        if self.created:
            whole["created"] = self.created
        return Image.of(self.store, write_image(self.store, self.layers, whole))


class _Unwritten(Image):
    """The layers of a draft, for those who only ask for layers."""

    def __init__(self, draft: Draft) -> None:
        rootfs = {"type": "layers", "diff_ids": [diff_id for _, diff_id in draft.layers]}
        data = documents.encode({"rootfs": rootfs})
        super().__init__(draft.store, Descriptor(OCI_CONFIG, digest_of(data), len(data)))
        self.__dict__.update(
            layers=[layer for layer, _ in draft.layers], diff_ids=[diff_id for _, diff_id in draft.layers]
        )
