"""Containers, as the Docker Engine API asks for them. See "Containers" of the API."""

from __future__ import annotations

import asyncio
import re
import secrets
import shutil
import subprocess
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from aiohttp import web

from kit.engine import asked, options
from kit.engine.build import with_changes
from kit.engine.container import Container
from kit.engine.create import make
from kit.engine.errors import bad, conflict
from kit.engine.execs import attached
from kit.engine.images import give, named
from kit.engine.life import number_of
from kit.engine.stats import answer as stats
from kit.engine.stdio import Client
from kit.engine.streams import STDERR, STDOUT, frame, take_over
from kit.images.commit import commit

if TYPE_CHECKING:
    from kit.engine.server import Engine

_DONE = ("start", "stop", "restart", "kill", "pause", "rename", "resize", "update", "attach", "wait")
_READ = ("logs", "top", "stats", "changes")
_NAME = re.compile(r"/?[a-zA-Z0-9][a-zA-Z0-9_.-]+")
#: The filters of `docker ps`, each with its question.
_TESTS: dict[str, Callable[[Container, str], bool]] = {
    "id": lambda one, text: one.id.startswith(text),
    "name": lambda one, text: text in f"/{one.name}",
    "status": lambda one, text: one.state["Status"] == text,
    "exited": lambda one, text: one.state["Status"] == "exited" and str(one.state["ExitCode"]) == text,
    "ancestor": lambda one, text: (
        text in (one.config["Image"], f"{one.config['Image']}:latest")
        or one.image_id.removeprefix("sha256:").startswith(text.removeprefix("sha256:"))
    ),
    "volume": lambda one, text: any(
        text in (m.get("Name"), m["Destination"]) for m in one.document["Mounts"]
    ),
    "network": lambda one, text: text in one.document["Networks"],
    "health": lambda one, text: (one.state.get("Health") or {"Status": "none"})["Status"] == text,
}
_MOODS = "brave busy calm clever eager fair gentle happy keen lively modest proud quiet sharp witty".split()
_PEOPLE = "hopper knuth lamport liskov lovelace naur perlman ritchie shannon thompson torvalds turing".split()


class ContainerApi:
    """The requests that concern containers, but for exec and files."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.life = engine, engine.life

    def routes(self) -> asked.Routes:
        one = "/containers/{id}"
        return [
            ("GET", "/containers/json", self.list),
            ("POST", "/containers/create", self.create),
            ("POST", "/containers/prune", self.prune),
            ("POST", "/commit", self.commit),
            ("DELETE", one, self.delete),
            *(("POST", f"{one}/{name}", getattr(self, name)) for name in _DONE),
            ("POST", f"{one}/unpause", self.pause),
            *(("GET", f"{one}/{name}", getattr(self, name)) for name in _READ),
            ("GET", f"{one}/json", self.inspect),
        ]

    def _find(self, request: web.Request) -> Container:
        return self.engine.find(request.match_info["id"])

    # Create

    async def create(self, request: web.Request) -> web.Response:
        document = await asked.body(request)
        options.check(document)
        name = (request.query.get("name") or self._free_name()).lstrip("/")
        self._check_name(name)
        container_id = secrets.token_hex(32)
        self.engine.names[name] = container_id  # from now on it is taken
        try:
            container = await asyncio.to_thread(make, self.engine, container_id, name, document)
        except BaseException:
            del self.engine.names[name]
            await asyncio.to_thread(shutil.rmtree, self.engine.root / "containers" / container_id, True)
            raise
        self.engine.add(container)
        self.life.tell(container, "create")
        return asked.reply({"Id": container.id, "Warnings": []}, status=201)

    def _free_name(self) -> str:
        while (name := f"{secrets.choice(_MOODS)}_{secrets.choice(_PEOPLE)}") in self.engine.names:
            if len(self.engine.names) > 100:
                return f"{name}_{secrets.token_hex(4)}"
        return name

    def _check_name(self, name: str) -> None:
        if not _NAME.fullmatch(name):
            raise bad(f"Invalid container name ({name:.80}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")
        if name in self.engine.names:
            owner = self.engine.names[name]
            raise conflict(f'Conflict. The name "/{name}" is already in use by container "{owner}".')

    # What there is

    async def list(self, request: web.Request) -> object:
        wanted, limit = asked.filters(request, (*_TESTS, "label")), int(asked.number(request, "limit") or 0)
        every = asked.flag(request, "all") or limit > 0 or bool({"status", "exited"} & wanted.keys())
        found = [
            one
            for one in reversed(self.engine.containers)
            if (every or one.running)
            and asked.labelled(one.config.get("Labels"), wanted.get("label", ()))
            and all(any(_TESTS[key](one, text) for text in wanted[key]) for key in wanted if key != "label")
        ]
        rows = [one.summary() for one in (found[:limit] if limit > 0 else found)]
        if asked.flag(request, "size"):
            rows = [
                {**row, **await asyncio.to_thread(one.sizes)} for row, one in zip(rows, found, strict=False)
            ]
        return rows

    async def inspect(self, request: web.Request) -> object:
        container = self._find(request)
        sizes = await asyncio.to_thread(container.sizes) if asked.flag(request, "size") else {}
        return {**container.inspect(), **sizes}

    async def changes(self, request: web.Request) -> object:
        return await asyncio.to_thread(self._find(request).disk.changes)

    async def logs(self, request: web.Request) -> web.StreamResponse:
        container = self._find(request)
        return await container.log.answer(request, container.terminal, container.stopped)

    async def stats(self, request: web.Request) -> web.StreamResponse:
        return await stats(request, self._find(request))

    async def top(self, request: web.Request) -> object:
        """The processes, as ps(1) of this machine lists them."""
        container = self._find(request)
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

    # What is done with one

    async def start(self, request: web.Request) -> web.Response:
        return web.Response(status=204 if await self.life.start(self._find(request)) else 304)

    async def stop(self, request: web.Request) -> web.Response:
        stopped = await self.life.stop(self._find(request), asked.number(request, "t"))
        return web.Response(status=204 if stopped else 304)

    async def restart(self, request: web.Request) -> None:
        container = self._find(request)
        await self.life.stop(container, asked.number(request, "t"))
        await self.life.start(container)
        self.life.tell(container, "restart")

    async def kill(self, request: web.Request) -> None:
        await self.life.kill(self._find(request), number_of(request.query.get("signal") or "KILL"))

    async def pause(self, request: web.Request) -> None:
        await self.life.pause(self._find(request), request.path.endswith("/pause"))

    async def rename(self, request: web.Request) -> None:
        container, name = self._find(request), request.query.get("name", "").lstrip("/")
        self._check_name(name)
        old = container.name
        self.engine.names[name] = self.engine.names.pop(old)
        container.document["Name"] = f"/{name}"
        container.save()
        self.life.tell(container, "rename", oldName=f"/{old}")

    async def resize(self, request: web.Request) -> web.Response:
        container = self._find(request)
        rows, columns = asked.number(request, "h"), asked.number(request, "w")
        if container.task is None or not container.terminal:
            raise conflict(f"Container {container.id} has no terminal now")
        if not rows or not columns:
            raise bad("h and w are missing")
        container.task.resize(int(rows), int(columns))
        return web.Response()

    async def update(self, request: web.Request) -> object:
        container, document = self._find(request), await asked.body(request)
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
            container.save()
        self.life.tell(container, "update")
        return {"Warnings": None}

    async def delete(self, request: web.Request) -> None:
        if asked.flag(request, "link"):
            raise bad("the engine does not have links")
        await self.life.remove(self._find(request), asked.flag(request, "force"), asked.flag(request, "v"))

    async def prune(self, request: web.Request) -> object:
        wanted = asked.filters(request, ("label",))
        removed, size = [], 0
        for one in list(self.engine.containers):
            idle = not one.running and not one.state["Restarting"]
            if idle and asked.labelled(one.config.get("Labels"), wanted.get("label", ())):
                size += (await asyncio.to_thread(one.sizes))["SizeRw"]
                await self.life.remove(one)
                removed.append(one.id)
        return {"ContainersDeleted": removed or None, "SpaceReclaimed": size}

    async def commit(self, request: web.Request) -> web.Response:
        """A new image: the container's image, and what it changed as one more layer."""
        query = request.query
        container, document = self.engine.find(query.get("container", "")), await asked.body(request)
        names = [named(query["repo"], query.get("tag", ""))] if query.get("repo") else []
        config = {**container.config, **{key: value for key, value in document.items() if value}}
        config.pop("Image", None)
        frozen = asked.flag(request, "pause", True) and container.running and not container.state["Paused"]
        if frozen:
            await self.life.pause(container, True)

        def work() -> str:
            store, words = self.engine.store, container.config.get("Cmd") or []
            with store.writing():
                entries = container.disk.entries()
                line = query.get("comment") or " ".join(words)
                image = commit(store, container.disk.image, entries, config, created_by=line)
                image = with_changes(store, image, _lines(query.getall("changes", [])))
                give(store, names, image.descriptor)
            self.engine.tell("image", "commit", image.id)
            return image.id

        try:
            image_id = await asyncio.to_thread(work)
        finally:
            if frozen:
                await self.life.pause(container, False)
        return asked.reply({"Id": image_id}, status=201)

    # What lasts

    async def wait(self, request: web.Request) -> web.StreamResponse:
        container, condition = self._find(request), request.query.get("condition") or "not-running"
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

    async def attach(self, request: web.Request) -> web.StreamResponse:
        container = self._find(request)
        wanted = {
            stream for stream, key in ((STDOUT, "stdout"), (STDERR, "stderr")) if asked.flag(request, key)
        }
        if container.state["Paused"]:
            raise conflict(f"Container {container.id} is paused, unpause the container before attach")
        response, incoming = await take_over(request, container.terminal)
        client = Client(response, wanted, container.terminal)
        if asked.flag(request, "logs"):
            async for record in container.log.records(None):
                stream, data = STDOUT if record["stream"] == "stdout" else STDERR, record["log"].encode()
                if stream in wanted:
                    await response.write(data if container.terminal else frame(stream, data))
        if not asked.flag(request, "stream"):
            return response
        container.audience.clients.add(client)
        self.life.tell(container, "attach")
        writes = asked.flag(request, "stdin") and bool(container.config.get("OpenStdin"))
        try:
            await attached(
                client, incoming, container if writes else None, bool(container.config.get("StdinOnce"))
            )
        finally:
            container.audience.clients.discard(client)
        return response


def _lines(changes: Iterable[str]) -> list[str]:
    return [line for change in changes for line in change.split("\n") if line]
