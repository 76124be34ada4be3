"""POST /build: the classic builder, by chapter 05's. The context comes as a tar. See "Build an image"."""

from __future__ import annotations

import codecs
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiohttp import web

from kit import owner
from kit.engine import asked
from kit.engine.asked import bad
from kit.engine.images import give, named
from kit.engine.networks import Plugged
from kit.engine.streams import Tell, progress, received
from kit.engine.transfers import fetch, header, of_registry, platform
from kit.images.build import build
from kit.images.build.errors import BuildFailed
from kit.images.build.events import Done, Event, Output, Started, Warned
from kit.images.descriptor import Platform
from kit.images.documents import Document
from kit.images.errors import NoSuchPlatform, UnknownImage
from kit.images.image import Image
from kit.images.reference import Reference
from kit.images.store import Store
from kit.images.unpack import unpack
from kit.linux.errors import KernelError
from kit.linux.openat2 import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, openat2

if TYPE_CHECKING:
    from kit.engine.server import Engine

#: What can be asked for. There are no containers between the steps, so that rm and forcerm are always so.
_KNOWN = {
    *("dockerfile", "t", "q", "nocache", "cachefrom", "pull", "rm", "forcerm", "buildargs", "labels"),
    *("networkmode", "platform", "target", "version"),
}
_NOTHING = ("", "[]", "{}", "null", "false", "0", "None", "default")


@asked.route("POST", "/build/prune")
async def prune_cache(engine: Engine, request: web.Request) -> object:
    """Forget what steps came to."""
    asked.filters(request, ())
    removed, size = [], 0
    for file in (engine.store.directory / "cache").glob("*"):
        size += file.stat().st_size
        file.unlink(missing_ok=True)
        removed.append(file.name)
    return {"CachesDeleted": removed, "SpaceReclaimed": size}


@asked.route("POST", "/build")
async def build_image(engine: Engine, request: web.Request) -> web.StreamResponse:
    query, source, store = request.query, received(request), engine.store
    if query.get("version", "1") != "1":
        raise bad("only the classic builder (version 1) is here: set DOCKER_BUILDKIT=0")
    if others := {name for name, text in query.items() if text not in _NOTHING} - _KNOWN:
        raise bad(f"the engine builds without {min(others)}")
    if (network := query.get("networkmode") or "default") not in ("default", "bridge", "none", "host"):
        raise bad(f"networkmode is bridge, none or host in a build, and not {network!r:.40}")
    if platform(request) not in (None, Platform.here()):
        raise bad(f"invalid platform {query['platform']:.40}: the engine builds for {Platform.here()}")
    arguments, labels = _json(request, "buildargs", {str: str}), _json(request, "labels", {str: str})
    config, caches = header(request, "X-Registry-Config"), _json(request, "cachefrom", [str])
    tags = [named(tag, "") for tag in query.getall("t", []) if tag]
    quiet, pull, no_cache = (asked.flag(request, name) for name in ("q", "pull", "nocache"))

    def work(tell: Tell) -> None:
        def say(document: Document) -> None:
            if request.transport is None or request.transport.is_closing():
                raise BrokenPipeError("the client has gone")
            if document.get("stream") != "" and not quiet:
                tell(document)

        def find(name: str, wanted: Platform | None) -> Image:
            if not pull and _is_here(store, name, wanted):
                return Image.find(store, name, wanted)
            known = of_registry(config, Reference.parse(name).registry)
            return fetch(engine, say, name, wanted, known)

        with owner.directory("context") as context, store.writing(), _network(engine, network) as joined:
            unpack(source, context, plain=True)
            image = build(
                store,
                context,
                dockerfile=_dockerfile(context, query.get("dockerfile") or "Dockerfile"),
                target=query.get("target") or None,
                build_args={name: text for name, text in (arguments or {}).items() if text is not None},
                labels=labels,
                no_cache=no_cache or bool(caches and not any(_is_here(store, one) for one in caches)),
                network=joined,
                find=find,
                progress=_narrator(lambda text: say({"stream": text})),
            ).image
            give(store, tags, image.descriptor)
        if quiet:
            return tell({"stream": f"{image.id}\n"})
        tell({"aux": {"ID": image.id}})
        tell({"stream": f"Successfully built {image.id[7:19]}\n"})
        for tag in tags:
            tell({"stream": f"Successfully tagged {Reference.parse(tag).familiar()}\n"})

    def told(tell: Tell) -> None:
        try:
            work(tell)
        except BuildFailed as failed:  # the client's exit status is that of the RUN
            status = failed.status or 1
            code = status if status > 0 else 128 - status
            text = f"{failed} (returned a non-zero code: {code})" if failed.status else str(failed)
            tell({"errorDetail": {"code": code, "message": text}, "error": text})

    return await progress(request, told)


@contextmanager
def _network(engine: Engine, mode: str) -> Iterator[str]:
    """What a RUN has of the network: by default a namespace of the build's own, on the network bridge."""
    if mode in ("none", "host"):
        yield mode
        return
    from kit.linux.netlink import new_namespace

    plugged = Plugged(new_namespace())
    try:
        plugged.endpoints["bridge"] = engine.networks.make("bridge").connect(plugged.path)
        yield plugged.path
    finally:
        plugged.close()


def _is_here(store: Store, name: str, wanted: Platform | None = None) -> bool:
    try:
        Image.find(store, name, wanted)
    except (UnknownImage, NoSuchPlatform):
        return False
    return True


def _narrator(say: Callable[[str], None]) -> Callable[[Event], None]:
    """A build's events as the classic builder tells of them."""
    decode = codecs.getincrementaldecoder("utf-8")("replace").decode

    def narrate(event: Event) -> None:
        match event:
            case Started(step):
                say(f"Step {step.number}/{step.total} : {step.text}\n")
            case Output(_, data):
                say(decode(data))
            case Done(step) if step.cached and not step.text.startswith("FROM"):
                say(" ---> Using cache\n")
            case Done(step) if not step.cached:
                say(f"{decode(b'', True)} ---> {'failed' if step.error else step.time}\n")
            case Warned(text):
                say(f"[Warning] {text}\n")

    return narrate


def _json(request: web.Request, name: str, shape: object) -> Any:
    """JSON in the query, of this shape; raises Refused."""
    try:
        found = json.loads(request.query.get(name) or "null")
    except (ValueError, RecursionError):
        raise bad(f"{name} is no JSON") from None
    asked.known(found, shape, name)
    return found


def _dockerfile(context: Path, name: str) -> Path:
    """The Dockerfile in the context; a link in its place could lead to a file of this machine's."""
    directory = os.open(context, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.close(openat2(directory, name, os.O_PATH, resolve=RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS))
    except KernelError as error:
        raise bad(f"Cannot locate specified Dockerfile: {name} ({error.errno_name})") from None
    finally:
        os.close(directory)
    return context / name
