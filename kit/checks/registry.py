"""What the checks of chapter 07 look at: what one gets who pulls from a registry, and what it was asked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from kit.checks.feedback import NotYet
from kit.checks.look import described

if TYPE_CHECKING:
    from kit.images import Image
    from kit.registries.server import Registry
    from kit.registries.server.log import Access


@contextmanager
def pulled(name: str) -> Iterator[Image]:
    """The image as anybody gets it who pulls ``name``, gone after the block; NotYet where nobody does."""
    from kit.images import ImageError, scratch_store
    from kit.registries import pull

    with scratch_store() as store:
        try:
            image = pull(store, name)
        except ImageError as error:
            raise NotYet(f"`{name}` can't be pulled: {error.what}"[:300]) from error
        yield image


def digest_at(registry: Registry, repository: str, reference: str) -> str:
    """The digest of the manifest that a tag stands for in a registry, "" where there is none."""
    from kit.registries import Client
    from kit.registries.pull import ACCEPT

    with Client(registry.address) as client:
        found = client.head(f"/v2/{repository}/manifests/{reference}", {"Accept": ACCEPT})
    return str(found.headers["Docker-Content-Digest"]) if found.status == 200 else ""


def digest_of_answer(answer: object, variable: str = "digest") -> str:
    """The answer, where it looks like a digest. Raises NotYet."""
    from kit.images.descriptor import check_digest

    try:
        return check_digest(answer)
    except ValueError as error:
        raise NotYet(
            f"`{variable}` is {described(answer)} and no digest", "`sha256:` and 64 digits"
        ) from error


def given_out(registry: Registry) -> list[str]:
    """The digests of the blobs that were fetched from a registry, as often as they were."""
    return [
        access.path.rpartition("/")[2]
        for access in registry.log
        if access.method == "GET" and "/blobs/sha" in access.path and access.status < 300
    ]


def uploads(registry: Registry) -> list[Access]:
    """The requests that brought parts of blobs to a registry, without those that it refused."""
    return [
        access
        for access in registry.log
        if access.method in ("POST", "PATCH", "PUT")
        and "/blobs/uploads/" in access.path
        and access.status < 300
    ]
