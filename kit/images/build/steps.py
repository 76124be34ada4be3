"""What each instruction does: what its outcome depends on, and how it is carried out where that isn't known.

See the Dockerfile reference. The instructions that only say something of the image are :class:`Work` itself.
"""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from kit.images import documents, rootfs
from kit.images.build import users
from kit.images.build.context import Context, content_digest
from kit.images.build.dockerfile import Dockerfile
from kit.images.build.draft import Draft
from kit.images.build.errors import BuildFailed
from kit.images.build.events import Event, Output, Step, Warned
from kit.images.build.instruction import Instruction
from kit.images.build.metadata import command, configure, directory
from kit.images.build.place import missing, place
from kit.images.build.run import HOST_NAME, Ended, run
from kit.images.entry import Entry
from kit.images.image import Image
from kit.images.rootfs import Rootfs
from kit.images.store import Store

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_OFFLINE = re.compile(rb"(?i)network is unreachable|bad address|name resolution|could not resolve")
_TAIL = 4096  # bytes of a failed RUN's output that its error repeats


@dataclass
class Site:
    """Where a build happens and what holds for all of it; ``stages`` are the finished ones, by number."""

    store: Store
    dockerfile: Dockerfile
    context: Context
    images: dict[str, Image]
    proxies: dict[str, str]
    network: str
    memory: int | str | None
    epoch: int | None
    tell: Callable[[Event], None]
    stages: dict[int, Draft] = field(default_factory=dict)


@dataclass
class State:
    """How far a stage has come: its ``draft``, and the ``args`` in scope."""

    draft: Draft
    index: int
    args: dict[str, str] = field(default_factory=dict)
    own_cmd: bool = False  # a CMD of this very stage

    @property
    def variables(self) -> dict[str, str]:
        """What $NAME means: an ENV goes before an ARG."""
        return {**self.args, **self.draft.env}


@dataclass
class Work:
    """An instruction to be carried out, its variables replaced."""

    site: Site
    state: State
    one: Instruction
    step: Step

    @property
    def line(self) -> str:
        """How the image's history tells of it, in BuildKit's way."""
        flags = [f"--{name}={text}" for name, text in self.one.flags.items()]
        words = self.one.words
        if self.one.name in ("CMD", "ENTRYPOINT"):
            words = (documents.encode(command(self.state.draft.config, self.one)).decode(),)
        elif self.one.exec_form:
            words = (documents.encode(list(words)).decode(),)
        elif self.one.name in ("HEALTHCHECK", "ONBUILD"):
            words = (self.one.value,)
        return " ".join([self.one.name, *flags, *words])

    def depends(self) -> Iterator[dict[str, Any]]:
        """What the outcome depends on besides the draft and :attr:`line`, the cheapest to find out first."""
        yield {}

    @contextmanager
    def changes(self) -> Iterator[list[Entry]]:
        """Carry it out: what it changed, to be packed while the block runs."""
        yield []

    def _mounted(self) -> Rootfs:
        return rootfs.mount(self.site.store, self.state.draft.image())

    def configure(self) -> None:
        """Note it in the image's configuration."""
        draft, name = self.state.draft, self.one.name
        configure(draft.config, self.one)
        if name == "ENTRYPOINT" and not self.state.own_cmd:
            draft.config.pop("Cmd", None)  # what the base would run makes no sense as its arguments
        self.state.own_cmd = self.state.own_cmd or name == "CMD"


class Workdir(Work):
    """WORKDIR makes the directory, for the USER that holds, where it isn't there yet."""

    @property
    def line(self) -> str:
        return f"WORKDIR {self.path}"

    @property
    def path(self) -> str:
        return directory(self.state.draft.config, self.one.words[0])

    @contextmanager
    def changes(self) -> Iterator[list[Entry]]:
        where = self.one.where
        with self._mounted() as root:
            user = users.find(root.path, self.state.draft.config.get("User") or "", where)
            yield missing(root.path, self.path, (user.uid, user.gid), int(time.time()), where)


class Run(Work):
    """RUN runs a program in the image as it is so far."""

    @property
    def argv(self) -> list[str]:
        return command(self.state.draft.config, self.one)

    @property
    def args(self) -> dict[str, str]:
        """The ARGs that it sees."""
        env = self.state.draft.env
        return {name: text for name, text in sorted(self.state.args.items()) if name not in env}

    @property
    def network(self) -> str:
        wish = self.one.flags.get("network", "default")
        return self.site.network if wish == "default" else wish

    @property
    def line(self) -> str:
        args = [f"|{len(self.args)}", *(f"{name}={text}" for name, text in self.args.items())]
        return " ".join(["RUN", *(args if self.args else []), *self.argv])

    def depends(self) -> Iterator[dict[str, Any]]:
        yield {"argv": self.argv, "args": self.args, "network": self.network}

    @contextmanager
    def changes(self) -> Iterator[list[Entry]]:
        config = self.state.draft.config
        with self._mounted() as root:
            user = users.find(root.path, config.get("User") or "", self.one.where)
            env = {"PATH": PATH, "HOSTNAME": HOST_NAME, "HOME": user.home}
            env |= {**self.site.proxies, **self.args, **self.state.draft.env}
            tail = bytearray()

            def output(data: bytes) -> None:
                tail.extend(data)
                del tail[:-_TAIL]
                self.site.tell(Output(self.step, data))

            ended = run(
                root, self.argv, env=env, cwd=config.get("WorkingDir") or "/", user=user,
                network=self.network, memory=self.site.memory, output=output,
            )  # fmt: skip
            if ended.unlimited:
                self.site.tell(Warned(f"The RUN had no limits: {ended.unlimited}"))
            if ended.status:
                raise self._failed(ended, bytes(tail))
            yield root.changes()

    def _failed(self, ended: Ended, tail: bytes) -> BuildFailed:
        how = f"exit status {ended.status}"
        if ended.status < 0:
            names = {one.value: one.name for one in signal.Signals}
            how = f"killed by {names.get(-ended.status, f'signal {-ended.status}')}"
        remedy = ""
        if ended.out_of_memory:
            how += ", out of memory"
            remedy = "The kernel killed a program of it: give the build more memory, or have it use less."
        elif ended.status == 127:
            remedy = "The shell did not find a program: is it in the image, and in its PATH?"
        elif self.network == "none" and _OFFLINE.search(tail):
            remedy = "A RUN has no network unless the build has: --network=host."
        failed = BuildFailed(f"{self.step.text:.200}: {how}", self.one.where, remedy)
        failed.status, failed.output = ended.status, tail.decode(errors="replace")
        return failed


class Copy(Work):
    """COPY and ADD take files from the context, another stage or another image."""

    @property
    def line(self) -> str:
        flags = [f"--{name}={text}" for name, text in self.one.flags.items()]
        return " ".join([self.one.name, *flags, *self.one.words])

    def depends(self) -> Iterator[dict[str, Any]]:
        other = self._other()
        if other is not None:  # the same tree as the last time: its files need not be looked at
            yield {"tree": other.files()}
        with self._source(other) as source:
            yield {"content": content_digest(source.find(self.one.words[:-1], self.one.where))}

    @contextmanager
    def changes(self) -> Iterator[list[Entry]]:
        flags, where = self.one.flags, self.one.where
        with self._source(self._other()) as source, self._mounted() as root:
            unpack_in = None
            if self.one.name == "ADD":
                unpack_in = root.path.with_name("unpacked")
                unpack_in.mkdir(mode=0o700)
            yield place(
                source.find(self.one.words[:-1], where),
                self.one.words[-1],
                root=root.path,
                workdir=self.state.draft.config.get("WorkingDir") or "/",
                owner=users.owner(root.path, flags["chown"], where) if "chown" in flags else None,
                mode=int(flags["chmod"], 8) if "chmod" in flags else None,
                mtime=int(time.time()),
                unpack_in=unpack_in,
                where=where,
            )

    def _other(self) -> Draft | None:
        """The stage or image that --from names; None without one."""
        name = self.one.flags.get("from", "")
        if not name:
            return None
        stage = self.site.dockerfile.stage(name, self.state.index)
        return self.site.stages[stage.index] if stage else Draft.on(self.site.store, self.site.images[name])

    @contextmanager
    def _source(self, other: Draft | None) -> Iterator[Context]:
        if other is None:
            yield self.site.context
            return
        with (
            rootfs.mount(self.site.store, other.image(), read_only=True) as root,
            Context(root.path, tree=True) as tree,
        ):
            yield tree


WORK: dict[str, type[Work]] = {"WORKDIR": Workdir, "RUN": Run, "COPY": Copy, "ADD": Copy}
