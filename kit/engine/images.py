"""Images, as the Docker Engine API tells of them; chapter 05's store keeps them. See "Images" of the API."""

from __future__ import annotations

import asyncio
import fnmatch
from collections.abc import Callable, Collection, Iterable
from datetime import datetime
from typing import TYPE_CHECKING

from aiohttp import web

from kit import owner
from kit.engine import asked
from kit.engine.asked import bad, conflict, missing
from kit.engine.streams import Tell, progress, received, sent
from kit.images import find, gc, shown
from kit.images.commit import commit
from kit.images.descriptor import Descriptor
from kit.images.directory import from_directory
from kit.images.documents import Document
from kit.images.image import Image
from kit.images.load import load
from kit.images.reference import Reference
from kit.images.save import save
from kit.images.store import Store
from kit.images.unpack import unpack

if TYPE_CHECKING:
    from kit.engine.server import Engine

NAMELESS = "none@"  # before its id: how the store keeps an image that has no name (any more)


def give(store: Store, names: Iterable[str], descriptor: Descriptor) -> None:
    """Give an image these whole names, or keep it without one; who loses his last name is kept as well."""
    with store.writing():
        tags, image = store.tags(), Image.of(store, descriptor)
        new: dict[str, Descriptor | None] = dict.fromkeys(names, descriptor)
        losing = {tags[name].digest: tags[name] for name in new if name in tags}
        for digest, other in losing.items():
            rest = [name for name, one in tags.items() if one.digest == digest and name not in new]
            if not rest and digest != descriptor.digest:
                new[NAMELESS + Image.of(store, other).id] = other
        if any(one.digest == descriptor.digest for name, one in {**tags, **new}.items() if one):
            nameless = NAMELESS + image.id
            new |= {nameless: None} if nameless in tags else {}
        else:
            new[NAMELESS + image.id] = descriptor
        store.change(new)


def seconds(created: object) -> int:
    """A time of the image specification in seconds since 1970, 0 for what is none."""
    try:
        return int(datetime.fromisoformat(str(created)).timestamp())
    except (ValueError, OverflowError):
        return 0


def all_images(store: Store) -> dict[str, tuple[Image, list[str]]]:
    """Every image by its id, with its whole names, oldest first."""
    found: dict[str, tuple[Image, list[str]]] = {}
    for name, image in find.images(store):
        names = found.setdefault(image.id, (image, []))[1]
        if not name.startswith(NAMELESS):
            names.append(name)
    return dict(sorted(found.items(), key=lambda one: seconds(one[1][0].config.get("created"))))


def tags(store: Store, image: Image) -> list[str]:
    """The image's whole names."""
    return [name for name in find.names(store, image) if not name.startswith(NAMELESS)]


def summary(image: Image, names: Collection[str]) -> Document:
    """An image in a list."""
    pairs = [shown.split(name) for name in names]
    return {
        "Id": image.id, "ParentId": "", "RepoTags": [":".join(pair) for pair in pairs],
        "RepoDigests": sorted({f"{repository}@{image.descriptor.digest}" for repository, _ in pairs}),
        "Created": seconds(image.config.get("created")), "Containers": -1,
        "Size": image.size, "VirtualSize": image.size, "SharedSize": -1,
        "Labels": (image.config.get("config") or {}).get("Labels"),
    }  # fmt: skip


@asked.route("GET", "/images/json")
async def list_images(engine: Engine, request: web.Request) -> object:
    tests: dict[str, Callable[[Document, str], bool]] = {
        "dangling": lambda row, text: bool(row["RepoTags"]) != asked.is_true(text),
        "label": lambda row, text: asked.labelled(row["Labels"], text),
        "reference": lambda row, text: any(_like(tag, text) for tag in row["RepoTags"]),
    }
    found = await asyncio.to_thread(all_images, engine.store)
    rows = asked.chosen(request, [summary(*one) for one in found.values()], tests)
    if patterns := asked.filters(request, tests).get("reference"):
        for row in rows:
            row["RepoTags"] = [tag for tag in row["RepoTags"] if any(_like(tag, one) for one in patterns)]
            places = {tag.rpartition(":")[0] for tag in row["RepoTags"]}
            row["RepoDigests"] = [one for one in row["RepoDigests"] if one.partition("@")[0] in places]
    return rows[::-1]


@asked.route("GET", "/images/{name:.+}/json")
async def inspect_image(engine: Engine, request: web.Request) -> object:
    def work() -> Document:
        image = Image.find(engine.store, request.match_info["name"])
        row = summary(image, tags(engine.store, image))
        more = {key: row[key] for key in ("RepoTags", "RepoDigests", "VirtualSize")}
        more |= dict.fromkeys(("Parent", "Comment", "Container", "DockerVersion"), "")
        return {**shown.inspect(image), **more, "GraphDriver": {"Name": "overlay", "Data": {}}}

    return await asyncio.to_thread(work)


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
        names = [":".join(shown.split(name)) for name in tags(engine.store, image)]
        rows[-1] |= {"Id": image.id, "Tags": names}
    return rows[::-1]


@asked.route("POST", "/images/{name:.+}/tag")
async def tag_image(engine: Engine, request: web.Request) -> web.Response:
    repository, tag = request.query.get("repo", ""), request.query.get("tag", "")
    name = named(repository, tag)
    image = await asyncio.to_thread(Image.find, engine.store, request.match_info["name"])
    await asyncio.to_thread(give, engine.store, [name], image.descriptor)
    engine.events.tell("image", "tag", image.id, {"name": Reference.parse(name).familiar()})
    return web.Response(status=201)


@asked.route("DELETE", "/images/{name:.+}")
async def delete_image(engine: Engine, request: web.Request) -> object:
    """Take a name away, or with an id the image; one that a container was made from stays."""
    text, force = request.match_info["name"], asked.flag(request, "force")

    def work() -> list[Document]:
        image = Image.find(engine.store, text)
        names, image_id = find.names(engine.store, image), image.id  # read while it is there
        user = next((one for one in engine.containers if one.image_id == image_id), None)
        if user and (
            len(names) == 1 or image_id.removeprefix("sha256:").startswith(text.removeprefix("sha256:"))
        ):
            what = f"conflict: unable to remove {text}: the container {user.id[:12]} is made from it"
            raise conflict(f"{what}. Remove that first.")
        going, pruned = gc.untag(engine.store, text, force)
        told = [{"Untagged": ":".join(shown.split(name))} for name in going if not name.startswith(NAMELESS)]
        return [*told, *([{"Deleted": image_id}] if image_id in pruned.blobs else [])]

    removed = await asyncio.to_thread(work)
    engine.events.tell("image", "delete", text)
    return removed


@asked.route("POST", "/images/prune")
async def prune_images(engine: Engine, request: web.Request) -> object:
    wanted = asked.filters(request, ("dangling",))
    nameless_only = wanted.get("dangling", ["true"])[0] in ("true", "1")

    def work() -> Document:
        used = {container.image_id for container in engine.containers}
        deleted: list[Document] = []
        for image_id, (image, names) in all_images(engine.store).items():
            if image_id in used or (names and nameless_only):
                continue
            engine.store.change(dict.fromkeys(find.names(engine.store, image)))
            deleted += [{"Untagged": ":".join(shown.split(name))} for name in names]
            deleted.append({"Deleted": image_id})
        return {"ImagesDeleted": deleted or None, "SpaceReclaimed": gc.prune(engine.store).size}

    return await asyncio.to_thread(work)


@asked.route("GET", "/images/get")
@asked.route("GET", "/images/{name:.+}/get")
async def save_images(engine: Engine, request: web.Request) -> web.StreamResponse:
    one = request.match_info.get("name")
    names = [one] if one else request.query.getall("names", [])
    if not names:
        raise bad("names of images are missing")
    return await sent(request, "application/x-tar", lambda out: save(engine.store, names, out))


@asked.route("POST", "/images/load")
async def load_images(engine: Engine, request: web.Request) -> web.StreamResponse:
    source = received(request)

    def work(tell: Tell) -> None:
        for name in load(engine.store, source):
            tell({"stream": f"Loaded image: {Reference.parse(name).familiar()}\n"})

    return await progress(request, work)


async def import_image(engine: Engine, request: web.Request) -> web.StreamResponse:
    """POST /images/create?fromSrc=-: an image of one layer out of a tar archive of files."""
    query, source = request.query, received(request)
    if query["fromSrc"] != "-":
        raise bad("fromSrc is '-', the body: the engine fetches nothing from the web")
    if query.get("changes"):
        raise bad("the engine imports without changes: build FROM the new image instead")
    names = [named(query["repo"], query.get("tag", ""))] if query.get("repo") else []

    def work(tell: Tell) -> None:
        with owner.directory("import") as directory, engine.store.writing():
            unpack(source, directory)
            entries = list(from_directory(directory))
            line = query.get("message") or "Imported from -"
            image = commit(engine.store, None, entries, {}, created_by=line)
            give(engine.store, names, image.descriptor)
        tell({"status": image.id})

    return await progress(request, work)


def named(repository: str, tag: str) -> str:
    """The whole name of what a client calls repository and tag, or in one. Raises BadReference, Refused."""
    reference = Reference.parse(
        f"{repository}:{tag}" if tag and not tag.startswith("sha256:") else repository
    )
    if reference.digest:
        raise bad(f"{repository}: a name to give has no digest")
    return str(reference)


def _like(tag: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(tag if ":" in pattern.rpartition("/")[2] else tag.rpartition(":")[0], pattern)


def found(store: Store, text: str) -> Image:
    """The image to make a container from; 404 in the words that make clients pull it."""
    try:
        return Image.find(store, text)
    except LookupError:
        raise missing(f"No such image: {text}") from None
