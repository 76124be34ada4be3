"""Images from and to registries, by chapter 07's client, and archives. See "Images" of the API."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from aiohttp import web

from kit import owner
from kit.engine import asked, options
from kit.engine.asked import Refused, bad
from kit.engine.images import give, named, unnamed
from kit.engine.streams import Tell, progress, received, sent
from kit.images.commit import commit
from kit.images.descriptor import Platform
from kit.images.directory import from_directory
from kit.images.documents import Document
from kit.images.errors import UnknownImage
from kit.images.image import Image
from kit.images.load import load
from kit.images.reference import HUB, Reference
from kit.images.save import save
from kit.images.unpack import unpack
from kit.registries import Client, pull, push
from kit.registries.credentials import Credentials
from kit.registries.progress import WORDS, Event

if TYPE_CHECKING:
    from kit.engine.server import Engine

_SECONDS = 0.1  # between two lines of the same layer
_HUB = "https://index.docker.io/v1/"  # what clients call the Hub where they name credentials
_TEXTS = dict.fromkeys(("username", "password", "identitytoken", "serveraddress"), str)


@asked.route("POST", "/images/create")
async def create_image(engine: Engine, request: web.Request) -> web.StreamResponse:
    """Pull an image, or with ``fromSrc`` make one of a tar archive."""
    query = request.query
    if "fromSrc" in query:
        return await import_image(engine, request)
    name, tag = query.get("fromImage", ""), query.get("tag", "")
    if tag:
        name += f"@{tag}" if ":" in tag else f":{tag}"
    Reference.parse(name)
    known, wanted = credentials(header(request, "X-Registry-Auth")), platform(request)

    def work(tell: Tell) -> None:
        fetch(engine, tell, name, wanted, known)

    return await progress(request, work)


def fetch(
    engine: Engine, tell: Tell, name: str, platform: Platform | None, known: Credentials | None
) -> Image:
    """Pull an image, and tell of it as Docker does; raises as :func:`kit.registries.pull`."""
    reference, store = Reference.parse(name), engine.store
    before = store.tags().get(str(reference))
    heading = {"status": f"Pulling from {reference.repository}", "id": reference.tag or reference.digest}
    lines = _Lines(tell, "Pull", heading)
    image = pull(
        store, name, platform=platform, progress=lines, mirrors=engine.mirrors,
        insecure=engine.insecure, credentials=known,
    )  # fmt: skip
    lines.begin()
    after, called = store.resolve(str(reference)), reference.familiar()
    news = "Image is up to date for" if before == after else "Downloaded newer image for"
    tell({"status": f"Digest: {after.digest}"})
    tell({"status": f"Status: {news} {called}"})
    engine.tell("image", "pull", called, {"name": called, "id": image.id})
    return image


@asked.route("POST", "/images/{name:.+}/push")
async def push_image(engine: Engine, request: web.Request) -> web.StreamResponse:
    name, tag = request.match_info["name"], request.query.get("tag", "")
    reference = Reference.parse(f"{name}:{tag}" if tag else name)
    known = credentials(header(request, "X-Registry-Auth"))

    def work(tell: Tell) -> None:
        called = reference.familiar()
        if str(reference) not in engine.store.tags():
            raise UnknownImage(f"An image does not exist locally with the tag: {called}")
        place = f"{reference.registry}/{reference.repository}"
        lines = _Lines(tell, "Push", {"status": f"The push refers to repository [{place}]"})
        pushed = push(
            engine.store, str(reference), progress=lines, insecure=engine.insecure, credentials=known
        )
        lines.begin()
        tell({"status": f"{reference.tag}: digest: {pushed.digest} size: {pushed.size}"})
        aux = {"Tag": reference.tag, "Digest": pushed.digest, "Size": pushed.size}
        tell({"progressDetail": {}, "aux": aux})
        engine.tell("image", "push", called, {"name": called})

    return await progress(request, work)


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
        for name, descriptor in load(engine.store, source, unnamed=True).items():
            image_id = Image.of(engine.store, descriptor).id
            it = f" ID: {image_id}" if unnamed(name) else f": {Reference.parse(name).familiar()}"
            tell({"stream": f"Loaded image{it}\n"})
            engine.tell("image", "load", image_id, {"name": image_id})

    return await progress(request, work)


async def import_image(engine: Engine, request: web.Request) -> web.StreamResponse:
    """POST /images/create?fromSrc=-: an image of one layer out of a tar archive of files."""
    query, source = request.query, received(request)
    if query["fromSrc"] != "-":
        raise bad("fromSrc is '-', the body: the engine fetches nothing from the web")
    if platform(request) not in (None, Platform.here()):
        raise bad(f"invalid platform {query['platform']:.40}: the engine imports for {Platform.here()}")
    names = [named(query["repo"], query.get("tag", ""))] if query.get("repo") else []
    config: Document = {}
    options.changed(config, query.getall("changes", []))

    def work(tell: Tell) -> None:
        with owner.directory("import") as directory, engine.store.writing():
            unpack(source, directory, plain=True)
            entries = list(from_directory(directory))
            line = query.get("message") or "Imported from -"
            image = commit(engine.store, None, entries, config, created_by=line)
            give(engine.store, names, image.descriptor)
        tell({"status": image.id})
        engine.tell("image", "import", image.id, {"name": image.id})

    return await progress(request, work)


@asked.route("POST", "/auth")
async def check_login(engine: Engine, request: web.Request) -> object:
    """Whether a registry takes these credentials; the client keeps them."""
    document = await asked.body(request)
    known = credentials(document) or Credentials("", "")
    place = document.get("serveraddress") or _HUB
    host = HUB if place == _HUB else place.rpartition("//")[2].partition("/")[0]

    def work() -> int:
        with Client(host, insecure=engine.insecure, credentials=known) as client:
            return client.get("/v2/").status

    status = await asyncio.to_thread(work)
    if status != 200:
        raise Refused(401, f"{host} does not take this name and password (it answered {status})")
    return {"Status": "Login Succeeded", "IdentityToken": ""}


def platform(request: web.Request) -> Platform | None:
    """The query's platform; raises Refused."""
    text = request.query.get("platform", "").lower()
    try:
        return Platform.parse(text) if text not in ("", "linux") else None
    except ValueError as error:
        raise bad(f"invalid platform {text:.60}: {error}") from None


def header(request: web.Request, name: str) -> Document:
    """The JSON object in a header, in base64url; none is an empty one. Raises Refused."""
    text = request.headers.get(name, "")
    try:
        found = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)) or b"{}")
    except ValueError:
        raise bad(f"{name} is not the base64url of a JSON object") from None
    asked.known(found, {str: (dict if name == "X-Registry-Config" else str)}, name)
    return found or {}


def credentials(found: Mapping[str, Any]) -> Credentials | None:
    """What a client calls so; None where it says nothing: then the engine's own count."""
    asked.known(found, {str: object, **_TEXTS}, "X-Registry-Auth")
    user, secret, token = (found.get(name) or "" for name in ("username", "password", "identitytoken"))
    return Credentials("" if token else user, token or secret) if user or token else None


def of_registry(config: Document, registry: str) -> Credentials | None:
    """Those of a registry, in what X-Registry-Config says of several."""
    places = (registry, f"https://{registry}", f"http://{registry}", *([_HUB] if registry == HUB else []))
    return next((credentials(config[place]) for place in places if place in config), None)


class _Lines:
    """A transfer's events as lines of JSON, each layer's at most ten a second."""

    def __init__(self, tell: Tell, verb: Literal["Pull", "Push"], heading: Document) -> None:
        self.tell, self.word, self.heading = tell, ("Pull", "Push").index(verb), heading
        self.told: dict[str, tuple[str, float]] = {}

    def begin(self) -> None:
        """Tell the heading, once: an error before it is the answer's own."""
        if self.heading:
            self.tell(self.heading)
            self.heading = {}

    def __call__(self, event: Event) -> None:
        self.begin()
        state, then = self.told.get(event.digest, ("", 0.0))
        if state == event.state and time.monotonic() - then < _SECONDS:
            return
        self.told[event.digest] = event.state, time.monotonic()
        detail = {"current": event.done, "total": event.total} if event.state == "transferring" else {}
        name = event.digest.partition(":")[2][:12]
        self.tell({"status": WORDS[event.state][self.word], "progressDetail": detail, "id": name})
