"""JSON as images use it: read with a limit, since it comes from strangers; written always the same way.

See the OCI image-spec, "considerations.md": the digest of a document is that of its exact bytes, so one that
the kit writes has no white space and its keys in order, and one that it reads is never written anew.
"""

from __future__ import annotations

import json
from typing import Any

from kit.images.descriptor import Descriptor
from kit.images.errors import AGAIN, BadManifest

#: The longest manifest, index or configuration, in bytes: what registries accept, by the distribution-spec.
LIMIT = 4 * 1024 * 1024

Document = dict[str, Any]


def parse(data: bytes, where: object) -> Document:
    """The JSON object in ``data``; raises :class:`BadManifest` where it is too long or no JSON object."""
    document = parse_any(data, where)
    if not isinstance(document, dict):
        raise BadManifest(f"a JSON object is needed, and this is a {type(document).__name__}", where)
    return document


def parse_any(data: bytes, where: object) -> Any:
    """The JSON value in ``data``; raises :class:`BadManifest` where it is too long or no JSON."""
    check_size(len(data), where)
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BadManifest(f"no readable JSON: {error}", where, AGAIN) from None


def check_size(size: int, where: object) -> None:
    """Raise :class:`BadManifest` for a document of ``size`` bytes that no registry would take."""
    if size > LIMIT:
        what = f"{size:,} bytes are too many for a manifest, index or configuration; {LIMIT:,} is the limit"
        raise BadManifest(what, where, "Large content belongs in a layer.")


def encode(document: object) -> bytes:
    """The same bytes for the same content; raises :class:`BadManifest` for half a character of UTF-16."""
    try:
        return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise BadManifest(f"{error.object[error.start]!r} is half a character") from None


def objects(document: Document, key: str, where: object) -> list[Document]:
    """The list of objects under ``key``, empty where absent; else :class:`BadManifest`."""
    value = document.get(key)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise BadManifest(f"{key!r} must be a list of objects", where)
    return value


def descriptor(document: Any, where: object) -> Descriptor:
    """The descriptor in a document; raises :class:`BadManifest`, which says in which."""
    try:
        return Descriptor.from_json(document)
    except ValueError as error:
        raise BadManifest(str(error), where) from None


def descriptors(document: Document, key: str, where: object) -> list[Descriptor]:
    """Those in the list under ``key``; raises :class:`BadManifest` where one is malformed."""
    return [descriptor(one, where) for one in objects(document, key, where)]
