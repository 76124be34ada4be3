"""docker cp and docker export: files of a container as a tar archive. See "Archive" of the Docker Engine API.

A path is looked up by the kernel with the container's root as "/" (openat2(2), RESOLVE_IN_ROOT), and what is
below it from open directories, without following links: whatever the container does meanwhile, nothing
outside of it is read or written. A running container's root is what its first process sees, volumes included.
"""

from __future__ import annotations

import asyncio
import base64
import errno
import json
import os
import posixpath
import stat
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from io import BufferedWriter
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web

from kit.engine import asked
from kit.engine.asked import bad, conflict, missing
from kit.engine.streams import received, sent
from kit.images.documents import Document
from kit.images.errors import ImageError
from kit.images.unpack import unpack
from kit.linux.errors import KernelError
from kit.linux.openat2 import openat2

if TYPE_CHECKING:
    from kit.containers.container import Running
    from kit.engine.container import Container
    from kit.engine.server import Engine

_NO_FOLLOW = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_GO_MODES = {  # Go's bits of what is no plain file, by the kernel's
    stat.S_IFDIR: 1 << 31, stat.S_IFLNK: 1 << 27, stat.S_IFBLK: 1 << 26, stat.S_IFCHR: 1 << 26 | 1 << 21,
}  # fmt: skip
_STAT = "X-Docker-Container-Path-Stat"


@contextmanager
def root(container: Container) -> Iterator[int]:
    """The container's "/" as an open directory."""
    with ExitStack() as cleanup:
        task = container.task
        pid = (task or cleanup.enter_context(_held(container))).pid
        fd = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        cleanup.callback(os.close, fd)
        if container.task is not task:  # it ended, and its number may be another process's by now
            raise conflict(f"Container {container.id} has just {'ended' if task else 'started'}: try again")
        yield fd


@contextmanager
def _held(container: Container) -> Iterator[Running]:
    """What does not run, made ready with all its mounts and held before its first instruction."""
    from kit import containers

    read_only = bool(container.host.get("ReadonlyRootfs"))
    with container.disk.mounted() as path:
        config = containers.config({}, cmd=["/proc/self/exe"], mounts=container.binds, read_only=read_only)
        with containers.start(f"held-{container.id}", config, path, hold=True) as held:
            yield held


def _parent(top: int, path: str) -> tuple[int, str]:
    """The open directory that a path's last part is in, and that part: "." for "/", and where it ends so."""
    whole = posixpath.normpath(f"/{path}")
    above, name = (whole, "") if path.endswith("/.") else posixpath.split(whole)
    try:
        return openat2(top, above, os.O_PATH | os.O_DIRECTORY), name or "."
    except KernelError as error:
        raise missing(f"Could not find the file {path}: {error.errno_name}") from None


def add(archive: tarfile.TarFile, directory: int, name: str, shown: str) -> None:
    """Add what is called ``name`` in an open directory, and all below it, as ``shown``."""
    info = archive.gettarinfo(f"/proc/self/fd/{directory}/{name}", shown)  # of a link, the link itself
    if info is None:  # a socket
        return
    info.uname = info.gname = ""
    if info.isreg():
        with open(os.open(name, _NO_FOLLOW, dir_fd=directory), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):  # it is another one by now
                return
            info.size = status.st_size
            archive.addfile(info, file)
            return
    archive.addfile(info)
    if info.isdir():
        fd = os.open(name, _NO_FOLLOW | os.O_DIRECTORY, dir_fd=directory)
        try:
            for one in sorted(os.listdir(fd)):
                with suppress(FileNotFoundError):  # removed meanwhile
                    add(archive, fd, one, f"{shown}/{one}" if shown != "." else one)
        finally:
            os.close(fd)


def _told(directory: int, name: str, path: str) -> Document:
    """What the header X-Docker-Container-Path-Stat says; the mode is in Go's bits."""
    try:
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except OSError as error:
        raise missing(f"Could not find the file {path}: {error.strerror}") from None
    kind = _GO_MODES.get(stat.S_IFMT(status.st_mode), 0)
    link = os.readlink(name, dir_fd=directory) if stat.S_ISLNK(status.st_mode) else ""
    when = datetime.fromtimestamp(status.st_mtime, UTC).isoformat().replace("+00:00", "Z")
    mode = stat.S_IMODE(status.st_mode) & 0o777 | kind
    about = {"name": posixpath.basename(path) or "/", "size": status.st_size, "mode": mode}
    return {**about, "mtime": when, "linkTarget": link}


def _asked(engine: Engine, request: web.Request) -> tuple[Container, str]:
    path = request.query.get("path", "")
    if not path or "\0" in path:
        raise bad("path is missing, or can't be one")
    return engine.find(request), path


def _stat(container: Container, path: str) -> str:
    with root(container) as top:
        directory, name = _parent(top, path)
        try:
            told = _told(directory, name, posixpath.normpath(path))
        finally:
            os.close(directory)
    return base64.b64encode(json.dumps(told).encode()).decode()


@asked.route("HEAD", "/containers/{id}/archive")
async def stat_path(engine: Engine, request: web.Request) -> web.Response:
    told = await asyncio.to_thread(_stat, *_asked(engine, request))
    return web.Response(headers={_STAT: told})


@asked.route("GET", "/containers/{id}/archive")
async def get_archive(engine: Engine, request: web.Request) -> web.StreamResponse:
    container, path = _asked(engine, request)
    told = await asyncio.to_thread(_stat, container, path)

    def work(out: BufferedWriter) -> None:
        with root(container) as top, tarfile.open(fileobj=out, mode="w|") as archive:
            directory, name = _parent(top, path)
            try:
                add(archive, directory, name, name)
            finally:
                os.close(directory)

    return await sent(request, "application/x-tar", work, {_STAT: told})


@asked.route("PUT", "/containers/{id}/archive")
async def put_archive(engine: Engine, request: web.Request) -> web.Response:
    """Unpack; ``copyUIDGID`` gives all to the container's user. ``noOverwriteDirNonDir`` is always so."""
    from kit import containers

    container, path = _asked(engine, request)
    source, user = received(request), asked.flag(request, "copyUIDGID") and container.config.get("User")

    def work() -> None:
        with root(container) as top:
            try:
                fd = openat2(top, path, os.O_RDONLY | os.O_DIRECTORY)
            except KernelError as error:
                if error.errno == errno.ENOTDIR:
                    raise bad(f"extraction point is not a directory: {path}") from None
                raise missing(f"Could not find the directory {path}: {error.errno_name}") from None
            try:
                about = containers.user(Path(f"/proc/self/fd/{top}"), user) if user else {}
                owner = (about["uid"], about["gid"]) if user else None
                unpack(source, Path(f"/proc/self/fd/{fd}"), plain=True, owner=owner)
            except ImageError as error:
                if isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.EROFS:
                    raise bad(f"container rootfs is marked read-only: {path}") from None
                raise bad(str(error)) from None  # the archive's fault
            finally:
                os.close(fd)

    await asyncio.to_thread(work)
    return web.Response()


@asked.route("GET", "/containers/{id}/export")
async def export_container(engine: Engine, request: web.Request) -> web.StreamResponse:
    container = engine.find(request)

    def work(out: BufferedWriter) -> None:
        with container.disk.mounted() as path, tarfile.open(fileobj=out, mode="w|") as archive:
            fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                add(archive, fd, ".", ".")
            finally:
                os.close(fd)

    return await sent(request, "application/octet-stream", work)
