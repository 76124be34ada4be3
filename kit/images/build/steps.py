"""The steps of a stage, each found in the cache or carried out.

A step that changes files (RUN, COPY, ADD, a WORKDIR that isn't there yet) mounts the image as it is so far,
and what changed becomes a layer; a step that is in the cache needs no file of the image at all. See the
Dockerfile reference.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from kit.images import rootfs
from kit.images.build import arguments, users
from kit.images.build.cache import Cache, Outcome, key
from kit.images.build.context import Context, Source, content_digest
from kit.images.build.errors import BuildFailed
from kit.images.build.events import Event, Output, Step, Warned
from kit.images.build.instruction import Instruction, expanded
from kit.images.build.metadata import command, configure, created_by, directory, environment
from kit.images.build.place import missing, place
from kit.images.build.plan import Planned
from kit.images.build.run import HOST_NAME, Ended, run
from kit.images.commit import Draft, put_layer, timestamp
from kit.images.entry import Entry
from kit.images.image import Image
from kit.images.rootfs import Rootfs
from kit.images.seed import PATH
from kit.images.store import Store

_OFFLINE = re.compile(rb"(?i)network is unreachable|bad address|name resolution|could not resolve")
_TAIL = 4096  # bytes of a failed RUN's output that its error repeats


@dataclass
class Site:
    """What holds for all of a build; ``images`` are what the finished stages came to, by number."""

    store: Store
    context: Context
    escape: str
    given: Mapping[str, str]
    before_from: Mapping[str, str]
    network: str
    no_cache: bool
    epoch: int | None
    tell: Callable[[Event], None]
    images: dict[int, Image] = field(default_factory=dict)

    def image(self, one: Image | int | None) -> Image | None:
        """What a plan means by an image or the number of a stage."""
        return self.images[one] if isinstance(one, int) else one


class Steps:
    """One stage on the way: the image as it is so far (``draft``), and the ARGs in scope."""

    def __init__(self, site: Site, planned: Planned) -> None:
        self.site, self.planned = site, planned
        self.draft = Draft(site.store, site.image(planned.base))
        self.config = self.draft.config
        self.config.pop("OnBuild", None)
        self.args: dict[str, str] = {}
        self.own_cmd = False  # a CMD of this very stage

    @property
    def visible(self) -> dict[str, str]:
        """The ARGs that a RUN sees: an ENV goes before them."""
        env = environment(self.config)
        return {name: text for name, text in sorted(self.args.items()) if name not in env}

    def do(self, one: Instruction, step: Step) -> None:
        """Carry an instruction out, or find it done, and note it in the image."""
        one = expanded(one, {**self.args, **environment(self.config)}, self.site.escape)
        line = created_by(self.config, one, self.visible)
        cache = Cache(self.site.store)
        with self._found(one) as found:
            this = self._key(one, line, found)
            outcome = None if self.site.no_cache else cache.find(this)
            step.cached = outcome is not None
            if outcome is None:
                outcome = self._outcome(one, step, found)
                cache.put(this, outcome)
        step.size = outcome.layer[0].size if outcome.layer else 0
        if one.name == "ARG":
            self.args |= arguments.declared(one, self.site.given, self.site.before_from)
        configure(self.config, one)
        if one.name == "ENTRYPOINT" and not self.own_cmd:
            self.config.pop("Cmd", None)  # what the base would run makes no sense as its arguments
        self.own_cmd = self.own_cmd or one.name == "CMD"
        self.draft.add(outcome.layer, created=outcome.created, created_by=line)

    def label(self, labels: Mapping[str, str]) -> None:
        """What `--label` says, as a last LABEL would."""
        words = tuple(f"{name}={text}" for name, text in labels.items())
        one = Instruction("LABEL", " ".join(words), "--label", 0, words=words)
        configure(self.config, one)
        created = self.draft.whole.get("created") or timestamp(self.site.epoch)
        self.draft.add(None, created=created, created_by=created_by(self.config, one, {}))

    def _key(self, one: Instruction, line: str, found: list[Source]) -> str:
        """What the outcome depends on; the number of steps too, so that the same RUN twice is done twice."""
        depends: dict[str, Any] = {}
        if one.name == "RUN":
            depends = {"argv": command(self.config, one), "args": self.visible}
            network = self._network(one)
            # A namespace is at another path each time.
            depends["network"] = "joined" if network.startswith("/") else network
        elif one.name in ("COPY", "ADD"):
            depends = {"content": content_digest(found)}
        return key(
            config=self.config,
            files=[diff_id for _, diff_id in self.draft.layers],
            steps=len(self.draft.history),
            instruction=line,
            epoch=self.site.epoch,
            **depends,
        )

    def _outcome(self, one: Instruction, step: Step, found: list[Source]) -> Outcome:
        """Carry it out, and keep what it changed as a layer."""
        epoch = self.site.epoch
        with self._changes(one, step, found) as entries:
            if epoch is not None:
                entries = [replace(entry, mtime=min(entry.mtime, epoch)) for entry in entries]
            return Outcome(timestamp(epoch), put_layer(self.site.store, entries) if entries else None)

    @contextmanager
    def _changes(self, one: Instruction, step: Step, found: list[Source]) -> Iterator[list[Entry]]:
        """What an instruction changed, to be packed while the block runs."""
        if one.name not in ("RUN", "COPY", "ADD", "WORKDIR"):
            yield []
            return
        with rootfs.mount(self.site.store, self.draft.write()) as root:
            if one.name == "RUN":
                self._run(root, one, step)
                yield root.changes()
            elif one.name == "WORKDIR":
                user = users.find(root.path, self.config.get("User") or "", one.where)
                path = directory(self.config, one.words[0])
                yield missing(root.path, path, (user.uid, user.gid), int(time.time()), one.where)
            else:
                yield self._copied(root, found, one)

    def _network(self, one: Instruction) -> str:
        wish = one.flags.get("network", "default")
        return self.site.network if wish == "default" else wish

    def _run(self, root: Rootfs, one: Instruction, step: Step) -> None:
        user = users.find(root.path, self.config.get("User") or "", one.where)
        proxies = {name: text for name, text in self.site.given.items() if name in arguments.PROXIES}
        env = {"PATH": PATH, "HOSTNAME": HOST_NAME, "HOME": user.home}
        env |= {**proxies, **self.visible, **environment(self.config)}
        tail = bytearray()

        def output(data: bytes) -> None:
            tail.extend(data)
            del tail[:-_TAIL]
            self.site.tell(Output(step, data))

        ended = run(
            root, command(self.config, one), env=env, cwd=self.config.get("WorkingDir") or "/", user=user,
            network=self._network(one), output=output,
        )  # fmt: skip
        if ended.unlimited:
            self.site.tell(Warned(f"The RUN had no limits: {ended.unlimited}"))
        if ended.status:
            raise self._failed(one, step, ended, bytes(tail))

    def _failed(self, one: Instruction, step: Step, ended: Ended, tail: bytes) -> BuildFailed:
        how = f"exit status {ended.status}" if ended.status >= 0 else f"killed by signal {-ended.status}"
        remedy = ""
        if ended.out_of_memory:
            how += ", out of memory"
            remedy = "The kernel killed a program of it: have it use less."
        elif ended.status == 127:
            remedy = "The shell did not find a program: is it in the image, and in its PATH?"
        elif self._network(one) == "none" and _OFFLINE.search(tail):
            remedy = "A RUN has no network unless the build has: --network=host."
        failed = BuildFailed(f"{step.text:.200}: {how}", one.where, remedy)
        failed.status, failed.output = ended.status, tail.decode(errors="replace")
        return failed

    @contextmanager
    def _found(self, one: Instruction) -> Iterator[list[Source]]:
        """What a COPY or ADD takes, from the context or from the tree of the stage or image of --from."""
        if one.name not in ("COPY", "ADD"):
            yield []
            return
        if "from" not in one.flags:
            yield self.site.context.find(one.words[:-1], one.where)
            return
        image = self.site.image(self.planned.sources[one.flags["from"]])
        with (
            rootfs.mount(self.site.store, image, read_only=True) as root,
            Context(root.path, tree=True) as tree,
        ):
            yield tree.find(one.words[:-1], one.where)

    def _copied(self, root: Rootfs, found: list[Source], one: Instruction) -> list[Entry]:
        flags, where = one.flags, one.where
        unpack_in: Path | None = None
        if one.name == "ADD":
            unpack_in = root.path.with_name("unpacked")
            unpack_in.mkdir(mode=0o700)
        return place(
            found,
            one.words[-1],
            root=root.path,
            workdir=self.config.get("WorkingDir") or "/",
            owner=users.owner(root.path, flags["chown"], where) if "chown" in flags else None,
            mode=int(flags["chmod"], 8) if "chmod" in flags else None,
            mtime=int(time.time()),
            unpack_in=unpack_in,
            where=where,
        )
