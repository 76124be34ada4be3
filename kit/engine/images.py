"""Images, as the Docker Engine API tells of them; chapter 05's store keeps them. See "Images" of the API."""

from __future__ import annotations

import asyncio
import fnmatch
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from aiohttp import web

from kit.engine import asked
from kit.engine.asked import Refused, bad, conflict, missing
from kit.engine.volumes import LABELS
from kit.images import find, gc, shown
from kit.images.descriptor import Descriptor
from kit.images.documents import Document
from kit.images.errors import StoreBusy
from kit.images.image import Image
from kit.images.reference import Reference
from kit.images.store import UNNAMED, Store

if TYPE_CHECKING:
    from kit.engine.container import Container
    from kit.engine.server import Engine

Names = dict[str, Descriptor]  # those of one image, and for each what it stands for


class Images(Store):
    """A store where an image whose last name goes to another one stays, without a name, as Docker has it."""

    _naming = threading.Lock()

    def change(self, names: Mapping[str, Descriptor | None]) -> None:
        with self._naming, self.writing():
            tags = self.tags()
            named = {one.digest for name, one in {**tags, **names}.items() if one and not unnamed(name)}
            lost = {UNNAMED + one.digest: one for name, one in tags.items() if names.get(name)}
            found = {name: one for name, one in {**tags, **lost, **names}.items() if one and unnamed(name)}
            rest = {name: None if one.digest in named else one for name, one in found.items()}
            super().change({**names, **rest})


def unnamed(name: str) -> bool:
    """Whether it is a name that says that there is none."""
    return name.startswith(UNNAMED)


def give(store: Store, names: Iterable[str], descriptor: Descriptor) -> None:
    """Give an image these whole names; without any it is kept as well."""
    store.change(dict.fromkeys(names, descriptor) or {UNNAMED + descriptor.digest: descriptor})


def seconds(created: object) -> int:
    """A time of the image specification in seconds since 1970, 0 for what is none."""
    try:
        return int(datetime.fromisoformat(str(created)).timestamp())
    except (ValueError, OverflowError):
        return 0


def all_images(store: Store) -> dict[str, tuple[Image, Names]]:
    """Every image by its id, oldest first; of one second, first those that were named first."""
    found: dict[str, tuple[Image, Names]] = {}
    tags = store.tags()
    for name, image in find.images(store):
        found.setdefault(image.id, (image, {}))[1][name] = tags[name]
    named = {str(one.get("digest")): number for number, one in enumerate(store.entries())}

    def age(one: tuple[Image, Names]) -> tuple[int, int]:
        return seconds(one[0].config.get("created")), max(named[other.digest] for other in one[1].values())

    return {image.id: (image, names) for image, names in sorted(found.values(), key=age)}


def shared(images: Iterable[Image]) -> dict[str, int]:
    """For each image's id the bytes of those layers that others have as well."""
    sizes = {image.id: {layer.digest: layer.size for layer in image.layers} for image in images}
    users = Counter(digest for layers in sizes.values() for digest in layers)
    return {
        image_id: sum(size for digest, size in layers.items() if users[digest] > 1)
        for image_id, layers in sizes.items()
    }


def summary(image: Image, names: Names) -> Document:
    """An image in a list."""
    pairs = [(*shown.split(name), one.digest) for name, one in names.items() if not unnamed(name)]
    return {
        "Id": image.id, "ParentId": "",
        "RepoTags": [f"{repository}:{tag}" for repository, tag, _ in pairs if tag != "<none>"],
        "RepoDigests": sorted({f"{repository}@{digest}" for repository, _, digest in pairs}),
        "Created": seconds(image.config.get("created")), "Containers": -1,
        "Size": image.size, "VirtualSize": image.size, "SharedSize": -1,
        "Labels": (image.config.get("config") or {}).get("Labels"),
    }  # fmt: skip


@asked.route("GET", "/images/json")
async def list_images(engine: Engine, request: web.Request) -> object:
    def work() -> list[Document]:
        found = all_images(engine.store)
        order = list(found)

        def place(text: str) -> int:
            return order.index(Image.find(engine.store, text).id)

        tests: dict[str, Callable[[Document, str], bool]] = {
            "dangling": lambda row, text: asked.is_true(text) != bool(row["RepoTags"] or row["RepoDigests"]),
            "reference": lambda row, text: any(_like(tag, text) for tag in row["RepoTags"]),
            "before": lambda row, text: order.index(row["Id"]) < place(text),
            "since": lambda row, text: order.index(row["Id"]) > place(text),
            **_FOR_ALL,
        }
        rows = asked.chosen(request, [summary(*one) for one in found.values()], tests)
        patterns = asked.filters(request, tests).get("reference")
        sizes = shared(image for image, _ in found.values()) if asked.flag(request, "shared-size") else {}
        for row in rows:
            row["SharedSize"] = sizes.get(row["Id"], -1)
            if patterns:
                row["RepoTags"] = [tag for tag in row["RepoTags"] if any(_like(tag, one) for one in patterns)]
                places = {tag.rpartition(":")[0] for tag in row["RepoTags"]}
                row["RepoDigests"] = [one for one in row["RepoDigests"] if one.partition("@")[0] in places]
        return rows[::-1]

    return await asyncio.to_thread(work)


#: The filters that lists and prunes have.
_FOR_ALL = {**LABELS, "until": lambda row, text: bool(row["Created"] < asked.moment(text))}


def _like(tag: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(tag if ":" in pattern.rpartition("/")[2] else tag.rpartition(":")[0], pattern)


@asked.route("GET", "/images/{name:.+}/json")
async def inspect_image(engine: Engine, request: web.Request) -> object:
    def work() -> Document:
        image_id = Image.find(engine.store, request.match_info["name"]).id
        found = all_images(engine.store)
        image, names = found[image_id]
        row, about = summary(image, names), shown.inspect(image)
        parents = [other for other, _ in found.values() if _is_parent(other, image)]
        return {
            **about, **{key: row[key] for key in ("RepoTags", "RepoDigests", "VirtualSize")},
            "Parent": max(parents, key=lambda one: len(one.history)).id if parents else "",
            "Comment": (image.history or [{}])[-1].get("comment", ""), "DockerVersion": "",
            "Config": {**_CONFIG, **about["Config"]}, "GraphDriver": {"Name": "overlay", "Data": {}},
            "Metadata": {"LastTagTime": "0001-01-01T00:00:00Z"},
        }  # fmt: skip

    return await asyncio.to_thread(work)


_CONFIG: Document = {  # what clients look for in every image's
    **dict.fromkeys(("Hostname", "Domainname", "User", "Image", "WorkingDir"), ""),
    **dict.fromkeys(("Env", "Cmd", "Entrypoint", "Volumes", "OnBuild", "Labels")),
}


def _is_parent(one: Image, image: Image) -> bool:
    """Whether an image was made from ``one``: its history and its layers begin so."""
    lines, layers = one.history, one.diff_ids
    return bool(
        0 < len(lines) < len(image.history)
        and image.history[: len(lines)] == lines
        and image.diff_ids[: len(layers)] == layers
    )


@asked.route("GET", "/images/{name:.+}/history")
async def tell_history(engine: Engine, request: web.Request) -> object:
    image = await asyncio.to_thread(Image.find, engine.store, request.match_info["name"])
    layers, rows = iter(image.layers), []
    for line in image.history:
        layer = None if line.get("empty_layer") else next(layers, None)
        row = {"Id": "<missing>", "Created": seconds(line.get("created")), "Tags": None}
        row |= {"CreatedBy": line.get("created_by", ""), "Comment": line.get("comment", "")}
        rows.append({**row, "Size": layer.size if layer else 0})
    if rows:
        names = find.names(engine.store, image)
        rows[-1] |= {
            "Id": image.id,
            "Tags": [":".join(shown.split(one)) for one in names if not unnamed(one)],
        }
    return rows[::-1]


@asked.route("POST", "/images/{name:.+}/tag")
async def tag_image(engine: Engine, request: web.Request) -> web.Response:
    name = named(request.query.get("repo", ""), request.query.get("tag", ""))

    def work() -> str:
        old, image = find.find(engine.store, request.match_info["name"])
        engine.store.tag(name, engine.store.resolve(old))  # for all platforms that it is for
        return image.id

    image_id = await asyncio.to_thread(work)
    engine.events.tell("image", "tag", image_id, {"name": Reference.parse(name).familiar()})
    return web.Response(status=201)


@asked.route("DELETE", "/images/{name:.+}")
async def delete_image(engine: Engine, request: web.Request) -> object:
    """Take a name away, or with an id the image. One in use loses its names by force, and no more."""
    text, force = request.match_info["name"], asked.flag(request, "force")

    def work() -> list[Document]:
        store = engine.store
        name = find.name_of(store, text)
        image = Image.of(store, store.resolve(name))
        image_id, names = image.id, find.names(store, image)  # read while it is there
        users = [one for one in engine.containers if one.image_id == image_id]
        if by_id := image_id.removeprefix("sha256:").startswith(text.removeprefix("sha256:")):
            _check_deletion(image_id, users, names, force)
        elif users and len(names) == 1 and not force:
            what = f'conflict: unable to remove repository reference "{text}" (must force)'
            user = users[0].id[:12]
            raise conflict(f"{what} - container {user} is using its referenced image {image_id[7:19]}")
        deleted = False
        if users and (by_id or len(names) == 1):
            going = names
            kept = UNNAMED + image.descriptor.digest
            store.change({**dict.fromkeys(names), kept: image.descriptor})
        else:
            going, pruned = gc.untag(store, text, force=True)
            deleted = image_id in pruned.blobs
        told = [{"Untagged": ":".join(shown.split(one))} for one in going if not unnamed(one)]
        told += [{"Deleted": image_id}] if deleted else []
        for one in told:
            engine.tell("image", "delete" if "Deleted" in one else "untag", image_id, {"name": image_id})
        return told

    return await asyncio.to_thread(work)


def _check_deletion(image_id: str, users: list[Container], names: list[str], force: bool) -> None:
    """Raise Refused where an image can't be deleted by its id."""
    hard = any(one.running for one in users) or all(map(unnamed, names))
    if users and (hard or not force):
        user = max(users, key=lambda one: one.running)
        state = "running" if user.running else "stopped"
        why = f"image is being used by {state} container {user.id[:12]}"
    elif len(names) > 1 and not force:
        hard, why = False, "image is referenced in multiple repositories"
    else:
        return
    how = "cannot" if hard else "must"
    raise conflict(f"conflict: unable to delete {image_id[7:19]} ({how} be forced) - {why}")


@asked.route("POST", "/images/prune")
async def prune_images(engine: Engine, request: web.Request) -> object:
    """Remove the images that no container was made from: those without a name, or by dangling=0 all."""

    def work() -> Document:
        tests = {**_FOR_ALL, "dangling": lambda row, text: True}
        every = not all(map(asked.is_true, asked.filters(request, tests).get("dangling", ())))
        used = {container.image_id for container in engine.containers}
        found = all_images(engine.store)
        deleted: list[Document] = []
        for row in asked.chosen(request, [summary(*one) for one in found.values()], tests):
            names = found[row["Id"]][1]
            if row["Id"] not in used and (every or all(map(unnamed, names))):
                engine.store.change(dict.fromkeys(names))
                deleted += [{"Untagged": tag} for tag in row["RepoTags"]] + [{"Deleted": row["Id"]}]
        try:
            size = gc.prune(engine.store).size
        except StoreBusy:  # the next one makes the room
            size = 0
        return {"ImagesDeleted": deleted or None, "SpaceReclaimed": size}

    return await asyncio.to_thread(work)


@asked.route("GET", "/images/search")
async def search_images(engine: Engine, request: web.Request) -> object:
    raise Refused(501, "the engine does not search registries: docker pull NAME, if you know it")


def named(repository: str, tag: str) -> str:
    """The whole name of what a client calls repository and tag, or in one. Raises BadReference, Refused."""
    reference = Reference.parse(f"{repository}:{tag}" if tag else repository)
    if reference.digest:
        raise bad(f"{repository}: a name to give has no digest")
    return str(reference)


def found(store: Store, text: str) -> Image:
    """The image to make a container from; 404 in the words that make clients pull it."""
    try:
        return Image.find(store, text)
    except LookupError:
        raise missing(f"No such image: {text}") from None
