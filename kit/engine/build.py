"""POST /build: the classic builder, by chapter 05's. The context comes as a tar. See "Build an image"."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web

from kit import owner
from kit.engine import asked
from kit.engine.asked import bad
from kit.engine.streams import Tell, progress, received
from kit.images.build import Printer, build
from kit.images.reference import Reference
from kit.images.unpack import unpack
from kit.linux.errors import KernelError
from kit.linux.openat2 import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, openat2

if TYPE_CHECKING:
    from kit.engine.server import Engine

_REFUSED = ("remote", "squash", "extrahosts", "cgroupparent", "outputs", "platform", "cachefrom")
_EMPTY = ("", "[]", "{}", "null", "false", "0", "None")


@asked.route("POST", "/build/prune")
async def prune_cache(engine: Engine, request: web.Request) -> object:
    return {"CachesDeleted": None, "SpaceReclaimed": 0}


@asked.route("POST", "/build")
async def build_image(engine: Engine, request: web.Request) -> web.StreamResponse:
    from kit.engine.images import give, named

    query, source = request.query, received(request)
    for name in _REFUSED:
        if query.get(name, "") not in _EMPTY:
            raise bad(f"the engine builds without {name}")
    if query.get("version", "1") != "1":
        raise bad("only the classic builder (version 1) is here: set DOCKER_BUILDKIT=0")
    arguments, labels = _mapping(request, "buildargs"), _mapping(request, "labels")
    tags = [named(tag, "") for tag in query.getall("t", []) if tag]
    quiet, network = asked.flag(request, "q"), query.get("networkmode", "")
    if network not in ("", "default", "none", "host"):
        raise bad(f"networkmode is none or host in a build, and not {network!r:.40}")

    def work(tell: Tell) -> None:
        with owner.directory("context") as context, engine.store.writing():
            unpack(source, context)
            built = build(
                engine.store,
                context,
                dockerfile=_dockerfile(context, query.get("dockerfile") or "Dockerfile"),
                target=query.get("target") or None,
                build_args=arguments,
                labels=labels,
                no_cache=asked.flag(request, "nocache"),
                network="host" if network == "host" else "none",
                progress=None if quiet else Printer(lambda text: tell({"stream": text})),
            )
            give(engine.store, tags, built.image.descriptor)
        if quiet:
            return tell({"stream": f"{built.image.id}\n"})
        tell({"aux": {"ID": built.image.id}})
        tell({"stream": f"Successfully built {built.image.id[7:19]}\n"})
        for tag in tags:
            tell({"stream": f"Successfully tagged {Reference.parse(tag).familiar()}\n"})

    return await progress(request, work)


def _mapping(request: web.Request, name: str) -> dict[str, str]:
    try:
        found = json.loads(request.query.get(name) or "{}")
        return {str(key): str(text) for key, text in found.items() if text is not None}
    except (ValueError, AttributeError):
        raise bad(f"{name} must be an object of strings") from None


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
