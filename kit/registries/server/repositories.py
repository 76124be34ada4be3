"""A repository: what of the content store belongs to one name. See the OCI distribution-spec, "Definitions".

The bytes lie in the store of chapter 05, each once, whoever else has them. A repository adds:

    index.json                                its manifests as <name>@<digest>, its tags as <name>:<tag>
    repositories/<name>/_blobs/sha256/<hex>   an empty file for each blob that this repository may serve
    repositories/<name>/_uploads/<uuid>       the bytes so far of a blob that is being pushed

No part of a name can begin with '_', so that no repository lies in another one's directory.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from aiohttp import web

from kit.images.blob import as_kernel_error, sync
from kit.images.descriptor import Descriptor, check_digest
from kit.images.errors import BadDescriptor, ImageError
from kit.images.gc import reachable
from kit.images.store import Store
from kit.registries.server.errors import ErrorAnswer

STORE = web.AppKey("store", Store)
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME = re.compile(rf"{_PART}(?:/{_PART})*")
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
_ENTRY = re.compile(rf"({_NAME.pattern})(?::({_TAG.pattern})|@(.*))")
_LONGEST = 255  # characters of a name; many clients count the host in


def checked_digest(text: str) -> str:
    """``text`` where it is a digest, else DIGEST_INVALID."""
    try:
        return check_digest(text)
    except BadDescriptor as error:
        raise ErrorAnswer(400, "DIGEST_INVALID", str(error)) from None


def is_tag(text: str) -> bool:
    """Whether a tag may be called so."""
    return bool(_TAG.fullmatch(text))


def repository_of(request: web.Request) -> Repository:
    """The one that a request names; raises as :class:`Repository`."""
    return Repository(request.app[STORE], request.match_info["name"])


def names(store: Store) -> dict[str, dict[str, Descriptor]]:
    """Each repository's digests and tags, with the manifests that they stand for."""
    there = (store.directory / "index.json").stat()
    return _names(store, there.st_ino, there.st_mtime_ns, there.st_size)


@functools.lru_cache(maxsize=8)
def _names(store: Store, inode: int, time: int, size: int) -> dict[str, dict[str, Descriptor]]:
    """Read once for every version of index.json, which is always a new file."""
    found: dict[str, dict[str, Descriptor]] = {}
    for name, descriptor in store.tags().items():
        if entry := _ENTRY.fullmatch(name):
            found.setdefault(entry[1], {})[entry[2] or entry[3]] = descriptor
    return found


def adopt(store: Store) -> None:
    """Serve also those images that came into the store by another way than a push."""
    for name, references in names(store).items():
        if strangers := [one for one in references.values() if one.digest not in references]:
            with suppress(ImageError, ErrorAnswer):  # one that is damaged must not hide the rest
                repository = Repository(store, name)
                repository.link(*reachable(store, strangers))
                for manifest in strangers:
                    repository.put(manifest)


class Repository:
    """The repository ``name`` of a registry that keeps its content in ``store``; NAME_INVALID for no name."""

    def __init__(self, store: Store, name: str) -> None:
        if len(name) > _LONGEST or not _NAME.fullmatch(name):
            form = "lower case letters and digits, '.', '_', '__' or '-' between them, '/' between parts"
            raise ErrorAnswer(400, "NAME_INVALID", f"a name has up to {_LONGEST} characters: {form}")
        self.store, self.name = store, name
        self.directory = store.directory / "repositories" / name

    def exists(self) -> bool:
        """Whether anything was ever pushed here."""
        return self.directory.is_dir() or self.name in names(self.store)

    # Blobs

    def _link(self, digest: str) -> Path:
        return self.directory / "_blobs" / digest.replace(":", "/")

    def has(self, digest: str) -> bool:
        """Whether the repository may serve this blob, and it is there."""
        return self._link(digest).exists() and self.store.has(digest)

    def link(self, *digests: str) -> None:
        """Let blobs of the store belong to this repository too; a collector leaves them for an hour."""
        links = [self._link(one) for one in digests]
        with as_kernel_error("note the blobs of", self.directory):
            for link in links:
                link.parent.mkdir(parents=True, exist_ok=True)
                link.touch()
            for directory in {link.parent for link in links}:
                sync(directory)

    def touch(self, digest: str) -> None:
        """Let a collector leave the blob for another hour; where that can't be noted, it is not."""
        with suppress(OSError):
            os.utime(self._link(digest))

    def mount(self, digest: str, source: Repository | None) -> bool:
        """Have a blob of another repository, or of any, too; whether there is such a one."""
        with self.store.writing():
            found = source.has(digest) if source else self.store.has(digest)
            if found:
                self.link(digest)
        return found

    def unlink(self, digest: str) -> None:
        """Let a blob belong to this repository no longer; its bytes stay until they are collected."""
        self._link(digest).unlink(missing_ok=True)

    # Manifests

    def references(self) -> dict[str, Descriptor]:
        """The digests and tags of this repository, with the manifests that they stand for."""
        return names(self.store).get(self.name, {})

    def find(self, reference: str) -> Descriptor:
        """The manifest of a tag or digest, else MANIFEST_UNKNOWN."""
        if found := self.references().get(reference):
            return found
        what = f"the repository {self.name} has no manifest {reference[:150]}"
        raise ErrorAnswer(404, "MANIFEST_UNKNOWN", what)

    def put(self, manifest: Descriptor, tags: Iterable[str] = ()) -> None:
        """Have a manifest of the store here, and let the tags stand for it, whatever they stood for."""
        self._change(dict.fromkeys((manifest.digest, *tags), manifest))

    def delete(self, reference: str) -> None:
        """Take a tag away, or by digest a manifest with all its tags; raises as :meth:`find`."""
        gone, references = self.find(reference), self.references()
        with_tags = (one for one, manifest in references.items() if manifest.digest == gone.digest)
        self._change(dict.fromkeys(with_tags if ":" in reference else [reference]))

    def _change(self, references: Mapping[str, Descriptor | None]) -> None:
        self.store.change(
            {f"{self.name}{'@' if ':' in one else ':'}{one}": what for one, what in references.items()}
        )
        _names.cache_clear()
