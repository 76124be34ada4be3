"""A repository: what of the content store belongs to one name. See the OCI distribution-spec, "Definitions".

The bytes lie in the store of chapter 05, each once, whoever else has them. A repository adds:

    index.json                                its tags as <name>:<tag>; without a tag <name>@<digest>
    repositories/<name>/_blobs/sha256/<hex>   an empty file for each blob that this repository may serve
    repositories/<name>/_uploads/<uuid>       the bytes so far of a blob that is being pushed

No part of a name can begin with '_', so that no repository lies in another one's directory.
"""

from __future__ import annotations

import functools
import os
import re
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from kit.images.blob import as_kernel_error
from kit.images.descriptor import Descriptor, check_digest
from kit.images.errors import BadDescriptor
from kit.images.gc import reachable
from kit.images.store import Store
from kit.registries.server.errors import ErrorAnswer

_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME = re.compile(rf"{_PART}(?:/{_PART})*")
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
_ENTRY = re.compile(rf"({_NAME.pattern})(?::({_TAG.pattern})|@(.*))")
_LONGEST = 255  # characters of a name; many clients count the host in
_changing = threading.Lock()  # the names of one repository are looked at and changed by one thread at a time


def checked_digest(text: str) -> str:
    """``text`` where it is a digest, else DIGEST_INVALID."""
    try:
        return check_digest(text)
    except BadDescriptor as error:
        raise ErrorAnswer("DIGEST_INVALID", str(error)) from None


def is_tag(text: str) -> bool:
    """Whether a tag may be called so."""
    return bool(_TAG.fullmatch(text))


def names(store: Store) -> dict[str, dict[str, Descriptor]]:
    """Each repository's tags and digests, with the manifests that they stand for."""
    there = (store.directory / "index.json").stat()
    return _names(store, there.st_ino, there.st_mtime_ns)


@functools.lru_cache(maxsize=8)
def _names(store: Store, inode: int, time: int) -> dict[str, dict[str, Descriptor]]:
    """Read once for every version of index.json, which is always a new file."""
    found: dict[str, dict[str, Descriptor]] = {}
    for name, descriptor in store.tags().items():
        if entry := _ENTRY.fullmatch(name):
            found.setdefault(entry[1], {})[entry[2] or entry[3]] = descriptor
    return found


class Repository:
    """The repository ``name`` of a registry that keeps its content in ``store``; NAME_INVALID for no name."""

    def __init__(self, store: Store, name: str) -> None:
        if len(name) > _LONGEST or not _NAME.fullmatch(name):
            form = "lower case letters and digits, '.', '_', '__' or '-' between them, '/' between parts"
            what = f"a repository's name has up to {_LONGEST} characters: {form}"
            raise ErrorAnswer("NAME_INVALID", what, detail=name[:300])
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
        places = {self._link(one) for one in digests}
        with as_kernel_error("note the blobs of", self.directory):
            for place in places:
                place.parent.mkdir(parents=True, exist_ok=True)
                place.touch()
            for directory in {place.parent for place in places}:
                _sync(directory)

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
        """The tags, and the digests of the manifests that have none, with what they stand for."""
        return names(self.store).get(self.name, {})

    def find(self, reference: str) -> Descriptor:
        """The manifest of a tag or digest; MANIFEST_UNKNOWN, and DIGEST_INVALID for what begins like one."""
        references = self.references()
        if ":" not in reference:
            found = references.get(reference)
        else:
            by_digest = {one.digest: one for one in references.values()}
            found = by_digest.get(checked_digest(reference))
        if found is None:
            what = f"the repository {self.name} has no manifest {reference[:150]}"
            raise ErrorAnswer(
                "MANIFEST_UNKNOWN", what, detail={"name": self.name, "reference": reference[:150]}
            )
        return found

    def put(self, manifest: Descriptor, tags: Sequence[str]) -> None:
        """Name a manifest of the store by these tags, or by its digest alone, as what a tag left stays."""
        with _changing:
            before = self.references()
            left = {one.digest: one for tag in tags if (one := before.get(tag))}
            self._become({**before, **left, **dict.fromkeys(tags, manifest), manifest.digest: manifest})

    def delete(self, reference: str) -> None:
        """Take a tag away, or by digest a manifest with all its tags; raises as :meth:`find`."""
        with _changing:
            gone = self.find(reference)
            after = dict(self.references())
            if ":" in reference:
                after = {key: one for key, one in after.items() if one.digest != gone.digest}
            else:
                del after[reference]
                after[gone.digest] = gone
            self._become(after)

    def _become(self, after: dict[str, Descriptor]) -> None:
        """Change index.json so that these are the names, with a digest only for what has no tag."""
        before = self.references()
        tagged = {one.digest for key, one in after.items() if ":" not in key}
        after = {key: one for key, one in after.items() if key not in tagged}
        changed: dict[str, Descriptor | None] = dict.fromkeys(map(self._entry, before.keys() - after.keys()))
        changed |= {self._entry(key): one for key, one in after.items() if before.get(key) != one}
        if changed:
            self.store.change(changed)
            _names.cache_clear()

    def _entry(self, reference: str) -> str:
        return f"{self.name}{'@' if ':' in reference else ':'}{reference}"

    def adopt(self) -> None:
        """Link the blobs of images that came into the store by another way than a push."""
        self.link(*reachable(self.store, self.references().values()))


def _sync(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
