"""Images from and to registries, by chapter 07's client. See "Create an image", "Push an image"."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from typing import TYPE_CHECKING, Any

from aiohttp import web

from kit.engine import asked
from kit.engine.asked import Refused, bad
from kit.engine.images import give, import_image
from kit.engine.streams import Tell, progress
from kit.images.descriptor import Platform
from kit.images.documents import Document
from kit.images.errors import UnknownImage
from kit.images.reference import Reference
from kit.registries import Client, pull, push
from kit.registries.credentials import Credentials
from kit.registries.progress import Event

if TYPE_CHECKING:
    from kit.engine.server import Engine

_SECONDS = 0.1  # between two lines of the same layer
_PULL = {
    "waiting": "Pulling fs layer", "transferring": "Downloading", "trying again": "Retrying",
    "there already": "Already exists", "mounted": "Already exists", "transferred": "Pull complete",
}  # fmt: skip
_PUSH = {
    "waiting": "Preparing", "transferring": "Pushing", "trying again": "Retrying",
    "there already": "Layer already exists", "mounted": "Mounted from another repository",
    "transferred": "Pushed",
}  # fmt: skip


@asked.route("POST", "/images/create")
async def create_image(engine: Engine, request: web.Request) -> web.StreamResponse:
    """Pull an image, or with ``fromSrc`` make one of a tar archive."""
    query = request.query
    if "fromSrc" in query:
        return await import_image(engine, request)
    name, tag = query.get("fromImage", ""), query.get("tag", "")
    if tag:
        name += f"@{tag}" if ":" in tag else f":{tag}"
    reference, store = Reference.parse(name), engine.store
    platform = Platform.parse(query["platform"]) if query.get("platform") else None
    credentials = _credentials(request)

    def work(tell: Tell) -> None:
        before = store.tags().get(str(reference))
        heading = {"status": f"Pulling from {reference.repository}", "id": reference.tag or reference.digest}
        lines = _Lines(tell, _PULL, heading)
        image = pull(
            store, name, platform=platform, progress=lines, mirrors=engine.mirrors,
            insecure=engine.insecure, **credentials,
        )  # fmt: skip
        after = store.resolve(str(reference))
        if before and before.digest != after.digest:
            store.tag(str(reference), before)  # so that the old image is kept, without a name
            give(store, [str(reference)], after)
        lines.begin()
        news = "Image is up to date for" if before == after else "Downloaded newer image for"
        tell({"status": f"Digest: {after.digest}"})
        tell({"status": f"Status: {news} {reference.familiar()}"})
        engine.tell("image", "pull", reference.familiar(), {"name": reference.familiar(), "id": image.id})

    return await progress(request, work)


@asked.route("POST", "/images/{name:.+}/push")
async def push_image(engine: Engine, request: web.Request) -> web.StreamResponse:
    name, tag = request.match_info["name"], request.query.get("tag", "")
    reference = Reference.parse(f"{name}:{tag}" if tag else name)
    credentials = _credentials(request)

    def work(tell: Tell) -> None:
        if str(reference) not in engine.store.tags():
            raise UnknownImage(f"An image does not exist locally with the tag: {reference.familiar()}")
        place = f"{reference.registry}/{reference.repository}"
        lines = _Lines(tell, _PUSH, {"status": f"The push refers to repository [{place}]"})
        pushed = push(
            engine.store, str(reference), progress=lines,
            insecure=engine.insecure, **credentials,
        )  # fmt: skip
        lines.begin()
        tell({"status": f"{reference.tag}: digest: {pushed.digest} size: {pushed.size}"})
        aux = {"Tag": reference.tag, "Digest": pushed.digest, "Size": pushed.size}
        tell({"progressDetail": {}, "aux": aux})
        engine.tell("image", "push", reference.familiar(), {"name": reference.familiar()})

    return await progress(request, work)


@asked.route("POST", "/auth")
async def check_login(engine: Engine, request: web.Request) -> object:
    """Whether a registry takes these credentials; the client keeps them."""
    document = await asked.body(request)
    asked.check(document, dict.fromkeys(("username", "password", "serveraddress", "identitytoken"), str))
    place = document.get("serveraddress") or "docker.io"
    host = place.removeprefix("https://").removeprefix("http://").partition("/")[0]
    host = "docker.io" if host == "index.docker.io" else host

    def work() -> int:
        credentials = Credentials(document.get("username") or "", document.get("password") or "")
        with Client(host, insecure=engine.insecure, credentials=credentials) as client:
            return client.get("/v2/").status

    status = await asyncio.to_thread(work)
    if status != 200:
        raise Refused(401, f"{host} does not take this name and password (it answered {status})")
    return {"Status": "Login Succeeded", "IdentityToken": ""}


def _credentials(request: web.Request) -> dict[str, Any]:
    """What X-Registry-Auth says; without it the engine's own count."""
    text = request.headers.get("X-Registry-Auth", "")
    try:
        found = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)) or b"{}")
        user, secret = found.get("username") or "", found.get("password") or ""
        token = found.get("identitytoken") or ""
    except (ValueError, AttributeError):
        raise bad("X-Registry-Auth is not the base64url of a JSON object") from None
    if not all(isinstance(one, str) for one in (user, secret, token)):
        raise bad("X-Registry-Auth: username, password and identitytoken are strings")
    return {"credentials": Credentials("" if token else user, token or secret)} if user or token else {}


class _Lines:
    """A transfer's events as lines of JSON, each layer's at most ten a second."""

    def __init__(self, tell: Tell, words: dict[str, str], heading: Document) -> None:
        self.tell, self.words, self.heading = tell, words, heading
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
        self.tell({"status": self.words[event.state], "progressDetail": detail, "id": name})
