"""Images, as the Docker Engine API tells of them; chapter 05's store keeps them. See "Images" of the API."""

from __future__ import annotations

import asyncio
import fnmatch
from collections.abc import Collection, Iterable
from datetime import datetime
from typing import TYPE_CHECKING

from aiohttp import web

from kit import owner
from kit.engine import asked
from kit.engine.build import with_changes
from kit.engine.errors import bad, conflict, missing
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


class ImageApi:
    """The requests that concern images."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.store = engine, engine.store

    def routes(self) -> asked.Routes:
        name = "/images/{name:.+}"
        return [
            ("GET", "/images/json", self.list),
            ("GET", "/images/get", self.save),
            ("POST", "/images/load", self.load),
            ("POST", "/images/prune", self.prune),
            ("GET", f"{name}/json", self.inspect),
            ("GET", f"{name}/history", self.history),
            ("GET", f"{name}/get", self.save),
            ("POST", f"{name}/tag", self.tag),
            ("DELETE", name, self.delete),
        ]

    def all(self) -> dict[str, tuple[Image, list[str]]]:
        """Every image by its id, with its whole names, oldest first."""
        found: dict[str, tuple[Image, list[str]]] = {}
        for name, image in find.images(self.store):
            names = found.setdefault(image.id, (image, []))[1]
            if not name.startswith(NAMELESS):
                names.append(name)
        return dict(sorted(found.items(), key=lambda one: seconds(one[1][0].config.get("created"))))

    def summary(self, image: Image, names: Collection[str]) -> Document:
        """An image in a list."""
        pairs = [shown.split(name) for name in names]
        return {
            "Id": image.id,
            "ParentId": "",
            "RepoTags": [f"{repository}:{tag}" for repository, tag in pairs],
            "RepoDigests": sorted({f"{repository}@{image.descriptor.digest}" for repository, _ in pairs}),
            "Created": seconds(image.config.get("created")),
            "Size": image.size,
            "VirtualSize": image.size,
            "SharedSize": -1,
            "Labels": (image.config.get("config") or {}).get("Labels"),
            "Containers": -1,
        }

    async def list(self, request: web.Request) -> object:
        wanted = asked.filters(request, ("reference", "label", "dangling"))
        found = await asyncio.to_thread(self.all)
        rows = [self.summary(*one) for one in found.values()]
        if "dangling" in wanted:
            dangling = wanted["dangling"][0] in ("true", "1")
            rows = [row for row in rows if bool(row["RepoTags"]) != dangling]
        if "label" in wanted:
            rows = [row for row in rows if asked.labelled(row["Labels"], wanted["label"])]
        if "reference" in wanted:
            for row in rows:
                row["RepoTags"] = [tag for tag in row["RepoTags"] if _like(tag, wanted["reference"])]
            rows = [row for row in rows if row["RepoTags"]]
        return rows[::-1]

    async def inspect(self, request: web.Request) -> object:
        def work() -> Document:
            image = Image.find(self.store, request.match_info["name"])
            names = [name for name in find.names(self.store, image) if not name.startswith(NAMELESS)]
            short = self.summary(image, names)
            empty = {"Parent": "", "Comment": "", "Container": "", "DockerVersion": ""}
            more = {"GraphDriver": {"Name": "overlay", "Data": {}}, "VirtualSize": image.size}
            tags = {key: short[key] for key in ("RepoTags", "RepoDigests")}
            return {**shown.inspect(image), **tags, **empty, **more}

        return await asyncio.to_thread(work)

    async def history(self, request: web.Request) -> object:
        image = await asyncio.to_thread(Image.find, self.store, request.match_info["name"])
        layers, rows = iter(image.layers), []
        for line in image.history:
            layer = None if line.get("empty_layer") else next(layers, None)
            row = {"Id": "<missing>", "Created": seconds(line.get("created")), "Tags": None}
            row |= {"CreatedBy": line.get("created_by", ""), "Comment": line.get("comment", "")}
            rows.append({**row, "Size": layer.size if layer else 0})
        if rows:
            names = [name for name in find.names(self.store, image) if not name.startswith(NAMELESS)]
            rows[-1] |= {"Id": image.id, "Tags": [":".join(shown.split(name)) for name in names]}
        return rows[::-1]

    async def tag(self, request: web.Request) -> web.Response:
        repository, tag = request.query.get("repo", ""), request.query.get("tag", "")
        name = named(repository, tag)
        image = await asyncio.to_thread(Image.find, self.store, request.match_info["name"])
        await asyncio.to_thread(give, self.store, [name], image.descriptor)
        self.engine.events.tell("image", "tag", image.id, {"name": Reference.parse(name).familiar()})
        return web.Response(status=201)

    async def delete(self, request: web.Request) -> object:
        """Take a name away, or with an id the image; one that a container was made from stays."""
        text, force = request.match_info["name"], asked.flag(request, "force")

        def work() -> list[Document]:
            image = Image.find(self.store, text)
            names = find.names(self.store, image)
            user = next((one for one in self.engine.containers if one.image_id == image.id), None)
            if user and (len(names) == 1 or image.id.removeprefix("sha256:").startswith(text)):
                what = f"conflict: unable to remove {text}: the container {user.id[:12]} is made from it"
                raise conflict(f"{what}. Remove that first.")
            image_id = image.id  # read while it is there
            going, pruned = gc.untag(self.store, text, force)
            told: list[Document] = [
                {"Untagged": ":".join(shown.split(name))} for name in going if not name.startswith(NAMELESS)
            ]
            return [*told, *([{"Deleted": image_id}] if image_id in pruned.blobs else [])]

        removed = await asyncio.to_thread(work)
        for one in removed:
            for word, subject in one.items():
                self.engine.events.tell("image", "untag" if word == "Untagged" else "delete", subject)
        return removed

    async def prune(self, request: web.Request) -> object:
        wanted = asked.filters(request, ("dangling",))
        nameless_only = wanted.get("dangling", ["true"])[0] in ("true", "1")

        def work() -> Document:
            used = {container.image_id for container in self.engine.containers}
            deleted: list[Document] = []
            for image_id, (image, names) in self.all().items():
                if image_id in used or (names and nameless_only):
                    continue
                self.store.change(dict.fromkeys(find.names(self.store, image)))
                deleted += [{"Untagged": ":".join(shown.split(name))} for name in names]
                deleted.append({"Deleted": image_id})
            return {"ImagesDeleted": deleted or None, "SpaceReclaimed": gc.prune(self.store).size}

        return await asyncio.to_thread(work)

    async def save(self, request: web.Request) -> web.StreamResponse:
        one = request.match_info.get("name")
        names = [one] if one else request.query.getall("names", [])
        if not names:
            raise bad("names of images are missing")
        return await sent(request, "application/x-tar", lambda out: save(self.store, names, out))

    async def load(self, request: web.Request) -> web.StreamResponse:
        source = received(request)

        def work(tell: Tell) -> None:
            for name in load(self.store, source):
                tell({"stream": f"Loaded image: {Reference.parse(name).familiar()}\n"})

        return await progress(request, work)

    async def load_tree(self, request: web.Request) -> web.StreamResponse:
        """POST /images/create?fromSrc=-: an image of one layer out of a tar archive of files."""
        query, source = request.query, received(request)
        if query["fromSrc"] != "-":
            raise bad("fromSrc is '-', the body: the engine fetches nothing from the web")
        names = [named(query["repo"], query.get("tag", ""))] if query.get("repo") else []

        def work(tell: Tell) -> None:
            with owner.directory("import") as directory, self.store.writing():
                unpack(source, directory)
                entries = list(from_directory(directory))
                line = query.get("message") or "Imported from -"
                image = commit(self.store, None, entries, {}, created_by=line)
                image = with_changes(self.store, image, query.getall("changes", []))
                give(self.store, names, image.descriptor)
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


def _like(tag: str, patterns: Collection[str]) -> bool:
    repository = tag.rpartition(":")[0]
    return any(
        fnmatch.fnmatchcase(tag if ":" in one.rpartition("/")[2] else repository, one) for one in patterns
    )


def found(store: Store, text: str) -> Image:
    """The image to make a container from; 404 in the words that make clients pull it."""
    try:
        return Image.find(store, text)
    except LookupError:
        raise missing(f"No such image: {text}") from None
