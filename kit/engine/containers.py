"""Containers, as the Docker Engine API asks for them. See "Containers" of the API."""

from __future__ import annotations

import asyncio
import re
import secrets
import shutil
import subprocess
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING

from aiohttp import web

from kit.engine import asked, options
from kit.engine.asked import bad, conflict
from kit.engine.container import Container
from kit.engine.create import make
from kit.engine.execs import DETACH, attached, detach_keys, resized
from kit.engine.images import give, named
from kit.engine.options import number_of
from kit.engine.streams import STDERR, STDOUT, Client, take_over
from kit.images.commit import commit
from kit.images.image import Image

if TYPE_CHECKING:
    from kit.engine.server import Engine

_NAME = re.compile(r"/?[a-zA-Z0-9][a-zA-Z0-9_.-]+")
_MOODS = "brave busy calm clever eager fair gentle happy keen lively modest proud quiet sharp witty".split()
#: The filters of `docker ps`, each with its question.
_TESTS: dict[str, Callable[[Container, str], bool]] = {
    "id": lambda one, text: one.id.startswith(text),
    "name": lambda one, text: re.search(text, f"/{one.name}") is not None,
    "status": lambda one, text: one.state["Status"] == text,
    "label": lambda one, text: asked.labelled(one.config.get("Labels"), text),
    "exited": lambda one, text: one.state["Status"] == "exited" and str(one.state["ExitCode"]) == text,
    "health": lambda one, text: (one.state.get("Health") or {"Status": "none"})["Status"] == text,
    "volume": lambda one, text: any(
        text in (mount.get("Name"), mount["Destination"]) for mount in one.document["Mounts"]
    ),
    "network": lambda one, text: any(
        text in (name, about["NetworkID"]) for name, about in one.network_settings()["Networks"].items()
    ),
    "expose": lambda one, text: _is_among(text, one.config.get("ExposedPorts") or ()),
    "publish": lambda one, text: _is_among(text, one.host.get("PortBindings") or ()),
}
_STATES = ("created", "running", "paused", "restarting", "removing", "exited", "dead")


def _is_among(text: str, ports: Iterable[str]) -> bool:
    """Whether "80", "80/tcp" or "8000-8080/tcp" is one of the ports."""
    numbers, _, protocol = text.partition("/")
    first, _, last = numbers.partition("-")
    wanted = range(int(first), int(last or first) + 1)
    return any(int(port.partition("/")[0]) in wanted and port.endswith(protocol or "tcp") for port in ports)


def _ancestor(engine: Engine) -> Callable[[Container, str], bool]:
    """Whether a container is made from an image, or from one that stands on it."""

    @cache
    def top(text: str) -> str:
        return Image.find(engine.store, text).chain_ids()[-1]

    def made_from(one: Container, text: str) -> bool:
        with suppress(LookupError, IndexError):
            return top(text) in one.disk.image.chain_ids()
        return False

    return made_from


@asked.route("POST", "/containers/create")
async def create_container(engine: Engine, request: web.Request) -> web.Response:
    document = await asked.body(request)
    options.check(document)
    name = (request.query.get("name") or f"{secrets.choice(_MOODS)}_{secrets.token_hex(3)}").lstrip("/")
    _check_name(engine, name)
    container_id = secrets.token_hex(32)
    engine.names[name] = container_id  # from now on it is taken
    try:
        container = await asyncio.to_thread(make, engine, container_id, name, document)
    except BaseException:
        del engine.names[name]
        await asyncio.to_thread(shutil.rmtree, engine.root / "containers" / container_id, True)
        raise
    engine.add(container)
    engine.life.tell(container, "create")
    return asked.reply({"Id": container.id, "Warnings": []}, status=201)


def _check_name(engine: Engine, name: str) -> None:
    if not _NAME.fullmatch(name):
        raise bad(f"Invalid container name ({name:.80}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")
    if name in engine.names:
        owner = engine.names[name]
        raise conflict(f'Conflict. The name "/{name}" is already in use by container "{owner}".')


@asked.route("GET", "/containers/json")
async def list_containers(engine: Engine, request: web.Request) -> object:
    tests = {
        **_TESTS, "ancestor": _ancestor(engine),
        "before": lambda one, text: one.document["Created"] < engine.find(text).document["Created"],
        "since": lambda one, text: one.document["Created"] > engine.find(text).document["Created"],
    }  # fmt: skip
    limit, wanted = int(asked.number(request, "limit") or 0), asked.filters(request, tests)
    if others := set(wanted.get("status", ())) - {*_STATES}:
        raise bad(f"invalid filter 'status={min(others):.40}': there are {', '.join(_STATES)}")
    every = asked.flag(request, "all") or limit > 0 or "status" in wanted
    there = [one for one in reversed(engine.containers) if every or one.running]
    found = asked.chosen(request, there, tests)
    rows = [one.summary() for one in (found[:limit] if limit > 0 else found)]
    if asked.flag(request, "size"):
        rows = [{**row, **await asyncio.to_thread(one.sizes)} for row, one in zip(rows, found, strict=False)]
    return rows


@asked.route("GET", "/containers/{id}/json")
async def inspect_container(engine: Engine, request: web.Request) -> object:
    container = engine.find(request)
    sizes = await asyncio.to_thread(container.sizes) if asked.flag(request, "size") else {}
    return {**container.inspect(), **sizes}


@asked.route("GET", "/containers/{id}/changes")
async def tell_changes(engine: Engine, request: web.Request) -> object:
    return await asyncio.to_thread(engine.find(request).disk.changes)


@asked.route("GET", "/containers/{id}/top")
async def list_processes(engine: Engine, request: web.Request) -> object:
    """The processes, as ps(1) of this machine lists them."""
    container = engine.find(request)
    if container.task is None:
        raise conflict(f"Container {container.id} is not running")
    words = (request.query.get("ps_args") or "-ef").split()
    pids = await asyncio.to_thread(container.task.pids)
    done = await asyncio.to_thread(subprocess.run, ["ps", *words], capture_output=True, text=True)
    titles, *lines = done.stdout.splitlines() or [""]
    names = titles.split()
    if done.returncode or "PID" not in names:
        raise bad(f"ps {' '.join(words)}: {done.stderr.strip() or 'it shows no PID'}")
    rows = [line.split(None, len(names) - 1) for line in lines]
    place = names.index("PID")
    return {"Titles": names, "Processes": [row for row in rows if int(row[place]) in pids]}


@asked.route("POST", "/containers/{id}/{action:start|stop|restart|kill|pause|unpause|rename}")
async def act(engine: Engine, request: web.Request) -> web.Response:
    """What needs no more than a few words of the query."""
    container, life, query, done = engine.find(request), engine.life, request.query, True
    match request.match_info["action"]:
        case "start":
            done = await life.start(container)
        case "stop":
            done = await life.stop(container, asked.number(request, "t"), query.get("signal", ""))
        case "restart":
            await life.stop(container, asked.number(request, "t"), query.get("signal", ""))
            await life.start(container)
            life.tell(container, "restart")
        case "kill":
            await life.kill(container, number_of(query.get("signal") or "KILL"))
        case "rename":
            old, name = container.name, query.get("name", "").lstrip("/")
            _check_name(engine, name)
            engine.names[name] = engine.names.pop(old)
            container.document["Name"] = f"/{name}"
            container.save(lasting=True)
            life.tell(container, "rename", oldName=f"/{old}")
        case pause:
            await life.pause(container, pause == "pause")
    return web.Response(status=204 if done else 304)


@asked.route("POST", "/containers/{id}/resize")
async def resize_container(engine: Engine, request: web.Request) -> web.Response:
    return resized(request, engine.find(request).task)


@asked.route("POST", "/containers/{id}/update")
async def update_container(engine: Engine, request: web.Request) -> object:
    container, document = engine.find(request), await asked.body(request)
    options.check_host(document)
    given = {key for key, value in document.items() if value}
    if others := given - {*options.RESOURCES, "RestartPolicy"}:
        raise bad(f"{min(others)} can't be updated")
    async with container.lock:
        host = container.host
        changed = {key: document[key] for key in options.RESOURCES if document.get(key)}
        if (policy := document.get("RestartPolicy") or {}).get("Name"):
            changed["RestartPolicy"] = policy
        if container.task:
            from kit import containers

            wanted = containers.config({}, cmd=["x"], **options.resources({**host, **changed}))
            await asyncio.to_thread(container.task.update, wanted["linux"]["resources"])
        host.update(changed)
        container.save(lasting=True)
    engine.life.tell(container, "update")
    return {"Warnings": None}


@asked.route("DELETE", "/containers/{id}")
async def delete_container(engine: Engine, request: web.Request) -> None:
    if asked.flag(request, "link"):
        raise bad("the engine does not have the option link")
    await engine.life.remove(engine.find(request), asked.flag(request, "force"), asked.flag(request, "v"))


@asked.route("POST", "/containers/prune")
async def prune_containers(engine: Engine, request: web.Request) -> object:
    tests: dict[str, Callable[[Container, str], bool]] = {
        "label": _TESTS["label"],
        "label!": lambda one, text: not _TESTS["label"](one, text),
        "until": lambda one, text: asked.moment(one.document["Created"]) < asked.moment(text),
    }
    removed, size = [], 0
    for one in asked.chosen(request, engine.containers, tests):
        if not one.running and not one.state["Restarting"]:
            size += (await asyncio.to_thread(one.sizes))["SizeRw"]
            await engine.life.remove(one)
            removed.append(one.id)
    return {"ContainersDeleted": removed or None, "SpaceReclaimed": size}


@asked.route("POST", "/commit")
async def commit_container(engine: Engine, request: web.Request) -> web.Response:
    """A new image: the container's image, and what it changed as one more layer."""
    query = request.query
    container, document = engine.find(query.get("container", "")), await asked.body(request)
    names = [named(query["repo"], query.get("tag", ""))] if query.get("repo") else []
    config = {**container.config, **{key: value for key, value in document.items() if value}}
    config.pop("Image", None)
    options.changed(config, query.getall("changes", []))
    frozen = asked.flag(request, "pause", True) and container.running and not container.state["Paused"]
    if frozen:
        await engine.life.pause(container, True)

    def work() -> str:
        with engine.store.writing():
            entries, line = container.disk.entries(), query.get("comment") or " ".join(container.words)
            image = commit(engine.store, container.disk.image, entries, config, created_by=line)
            give(engine.store, names, image.descriptor)
        engine.tell("image", "commit", image.id)
        return image.id

    try:
        image_id = await asyncio.to_thread(work)
    finally:
        if frozen:
            await engine.life.pause(container, False)
    return asked.reply({"Id": image_id}, status=201)


@asked.route("POST", "/containers/{id}/wait")
async def wait_for_container(engine: Engine, request: web.Request) -> web.StreamResponse:
    container, condition = engine.find(request), request.query.get("condition") or "not-running"
    if condition not in ("not-running", "next-exit", "removed"):
        raise bad(f"invalid condition: {condition:.40}")
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    ended = container.next_exit
    await response.prepare(request)  # at once: the client starts the container only then
    status = container.state["ExitCode"]
    if condition != "not-running" or container.running:
        await (container.removed if condition == "removed" else ended).wait()
        status = container.state["ExitCode"]
    await response.write(b'{"Error":null,"StatusCode":%d}\n' % status)
    return response


@asked.route("POST", "/containers/{id}/attach")
async def attach_to_container(engine: Engine, request: web.Request) -> web.StreamResponse:
    container = engine.find(request)
    wanted = {stream for stream, key in ((STDOUT, "stdout"), (STDERR, "stderr")) if asked.flag(request, key)}
    if container.state["Paused"]:
        raise conflict(f"Container {container.id} is paused, unpause the container before attach")
    keys = request.query.get("detachKeys") or DETACH
    detach_keys(keys)
    response, incoming = await take_over(request, container.terminal)
    client = Client(response, wanted, container.terminal)
    past = [*container.log.past()] if asked.flag(request, "logs") else []
    container.audience.clients.add(client)  # from the moment on at which the past ends
    engine.life.tell(container, "attach")
    writes = asked.flag(request, "stdin") and bool(container.config.get("OpenStdin"))
    try:
        if past:  # docker-py drops what comes in one piece with the answer's head
            await asyncio.sleep(0.02)
        for stream, data in past:
            await client.hear(stream, data)
        if asked.flag(request, "stream"):
            once = bool(container.config.get("StdinOnce"))
            await attached(client, incoming, container if writes else None, keys, once)
    finally:
        container.audience.clients.discard(client)
    return response
