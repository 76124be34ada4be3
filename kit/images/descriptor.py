"""A descriptor: the type, digest and size by which every part of an image points to the next.

See the OCI image-spec, descriptor.md and media-types.md; for Docker's names, "Image Manifest V 2, Schema 2".
"""

from __future__ import annotations

import hashlib
import platform as machine
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kit.images.errors import BadDescriptor

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
OCI_LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
OCI_LAYER_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"

DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_LAYER_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip"
DOCKER_LAYER_ZSTD = "application/vnd.docker.image.rootfs.diff.tar.zstd"

INDEXES = {OCI_INDEX, DOCKER_INDEX}
MANIFESTS = {OCI_MANIFEST, DOCKER_MANIFEST}
CONFIGS = {OCI_CONFIG, DOCKER_CONFIG}

#: Each type that a layer may have -> OCI's name for it.
LAYERS = {
    OCI_LAYER: OCI_LAYER,
    OCI_LAYER_GZIP: OCI_LAYER_GZIP,
    OCI_LAYER_ZSTD: OCI_LAYER_ZSTD,
    DOCKER_LAYER: OCI_LAYER,
    DOCKER_LAYER_GZIP: OCI_LAYER_GZIP,
    DOCKER_LAYER_ZSTD: OCI_LAYER_ZSTD,
}

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}")
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}


def check_digest(text: object) -> str:
    """``text`` if it is a digest such as ``sha256:9f86d0…`` (64 hex digits), else :class:`BadDescriptor`.

    ``sha512:`` has 128 digits: descriptor.md registers these two algorithms.
    """
    if isinstance(text, str) and _DIGEST.fullmatch(text):
        return text
    remedy = (
        "One is 'sha256:' and 64 hexadecimal digits in lower case, or 'sha512:' and 128; "
        "other algorithms are not supported."
    )
    raise BadDescriptor(f"{text!r:.100} is no digest", remedy=remedy)


def digest_of(data: bytes, algorithm: str = "sha256") -> str:
    """The digest of ``data``, as ``sha256:<hex>``, or ``sha512:<hex>``."""
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


def algorithm_of(digest: str) -> str:
    """``sha256`` or ``sha512``: what a digest begins with; raises :class:`BadDescriptor`."""
    return check_digest(digest).partition(":")[0]


@dataclass(frozen=True)
class Platform:
    """What an image runs on, in Go's words: ``linux``, ``amd64`` or ``arm64``; ``variant`` such as ``v7``."""

    os: str
    architecture: str
    variant: str = ""

    @classmethod
    def here(cls) -> Platform:
        """This machine's."""
        name = machine.machine()
        return cls("linux", _ARCHITECTURES.get(name, name), "v7" if name == "armv7l" else "")

    @classmethod
    def parse(cls, text: str) -> Platform:
        """From ``linux/arm64`` or ``linux/arm/v7``; raises :class:`BadDescriptor` for anything else."""
        parts = text.split("/")
        if len(parts) not in (2, 3) or not all(parts):
            raise BadDescriptor(f"{text!r} is no platform", remedy="One is 'linux/amd64' or 'linux/arm/v7'.")
        return cls(*parts)

    @classmethod
    def from_json(cls, document: Any) -> Platform:
        """From a descriptor's ``platform``, or a configuration, which has the same keys."""
        if not isinstance(document, dict):
            raise BadDescriptor("'platform' must be an object")
        values = [document.get(key, "") for key in ("os", "architecture", "variant")]
        if not all(isinstance(value, str) for value in values):
            raise BadDescriptor("a platform's os, architecture and variant must be strings")
        return cls(*values)

    def to_json(self) -> dict[str, str]:
        """As the specification has it; an empty variant is left out."""
        named = {"os": self.os, "architecture": self.architecture}
        return named | ({"variant": self.variant} if self.variant else {})

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


@dataclass(frozen=True)
class Descriptor:
    """A pointer to content: its ``media_type``, ``digest`` (``sha256:<hex>``, say) and ``size`` in bytes.

    Raises :class:`BadDescriptor` where the specification does not allow a value.
    """

    media_type: str
    digest: str
    size: int
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)
    platform: Platform | None = None

    def __post_init__(self) -> None:
        check_digest(self.digest)
        if not isinstance(self.media_type, str) or not _TYPE.fullmatch(self.media_type):
            raise BadDescriptor(f"{self.media_type!r:.100} is no media type", self.digest)
        if type(self.size) is not int or self.size < 0:  # True is an int too
            raise BadDescriptor(f"the size {self.size!r:.100} is no number of bytes", self.digest)
        if not isinstance(self.annotations, Mapping) or not all(
            isinstance(text, str) for pair in self.annotations.items() for text in pair
        ):
            raise BadDescriptor("annotations must map strings to strings", self.digest)

    @classmethod
    def from_json(cls, document: Any) -> Descriptor:
        """From a parsed JSON object; unknown keys are ignored, as the specification asks."""
        if not isinstance(document, dict):
            raise BadDescriptor(f"a descriptor must be an object, not a {type(document).__name__}")
        if missing := [key for key in ("mediaType", "digest", "size") if key not in document]:
            raise BadDescriptor(f"a descriptor without {', '.join(missing)}")
        annotations, platform = document.get("annotations") or {}, document.get("platform")
        known = None if platform is None else Platform.from_json(platform)
        return cls(document["mediaType"], document["digest"], document["size"], annotations, known)

    def to_json(self) -> dict[str, Any]:
        """The JSON object of descriptor.md; empty annotations and an absent platform are left out."""
        document: dict[str, Any] = {"mediaType": self.media_type, "digest": self.digest, "size": self.size}
        if self.annotations:
            document["annotations"] = dict(self.annotations)
        if self.platform:
            document["platform"] = self.platform.to_json()
        return document
