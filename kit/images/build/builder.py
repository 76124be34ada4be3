"""Carrying out a Dockerfile: step by step, each found in the cache or done, and a name only at the end.

A stage is a :class:`Draft`. A step that changes files (RUN, COPY, ADD, a WORKDIR that isn't there yet) mounts
the draft, and what changed becomes a layer; a step that is in the cache needs no file of the image at all.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from kit.images.build.arguments import PROXIES, Arguments
from kit.images.build.cache import Cache, Outcome, key
from kit.images.build.context import Context
from kit.images.build.dockerfile import parse
from kit.images.build.draft import Draft
from kit.images.build.errors import BadDockerfile, BuildFailed
from kit.images.build.events import Done, Event, Started, Step, Warned
from kit.images.build.ignore import Ignore
from kit.images.build.instruction import Instruction, expanded
from kit.images.build.plan import Plan, Planned, plan, unused
from kit.images.build.progress import Built
from kit.images.build.run import NETWORKS
from kit.images.build.steps import WORK, Site, State, Work
from kit.images.commit import put_layer, timestamp
from kit.images.errors import BadReference, ImageError
from kit.images.reference import Reference
from kit.images.store import Store
from kit.linux.errors import KernelError


def build(
    store: Store,
    context: str | Path,
    *,
    dockerfile: str | Path | None = None,
    tags: Sequence[str] = (),
    target: str | None = None,
    build_args: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    no_cache: bool = False,
    network: str = "none",
    memory: int | str | None = None,
    progress: Callable[[Event], None] | None = None,
    source_date_epoch: int | None = None,
) -> Built:
    """Build the image that ``dockerfile`` (by default the context's own) describes, and give it ``tags``.

    ``context`` is the directory that COPY and ADD take from. ``target`` is the stage to stop at. ``network``
    is what a RUN has of it, "none" or "host"; ``memory`` what it may use, in bytes. ``progress`` is called
    with each event of :mod:`kit.images.build.events`. With ``source_date_epoch`` (seconds since 1970, by
    default $SOURCE_DATE_EPOCH) nothing in the image is younger than that, and the same input gives the same
    digest.

    Raises, before anything runs, :class:`BadDockerfile`, :class:`UnknownImage` for a base that isn't there,
    :class:`BadReference` for a tag, ValueError, :class:`KernelError` EPERM without root; then
    :class:`BuildFailed`. Whatever happens, nothing half made stays.
    """
    names = [_tag(tag) for tag in tags]
    if network not in NETWORKS:
        raise ValueError(f"network is {' or '.join(NETWORKS)}, and not {network!r}")
    _check_memory(memory)
    epoch = _epoch(source_date_epoch)
    check_privilege()
    context = Path(context)
    file = context / "Dockerfile" if dockerfile is None else Path(dockerfile)
    parsed = parse(_read(file, context), file.name)
    arguments = Arguments(parsed, build_args or {})
    tell = progress or (lambda event: None)
    with store.writing():
        planned = plan(store, parsed, arguments, target)
        _check_network(planned, network)
        for name in unused(parsed, planned, arguments.given, PROXIES):
            tell(Warned(f"The build argument {name} is for no ARG in {file.name}, and was not used."))
        with Context(context, Ignore.read(context, file)) as files:
            site = Site(
                store, parsed, files, planned.images, arguments.proxies(), network, memory, epoch, tell,
            )  # fmt: skip
            builder = _Builder(site, arguments, planned, no_cache)
            image = builder.build().write(labels or {})
        for name in names:
            store.tag(name, image.descriptor)
    return Built(image, builder.steps, [Reference.parse(name).familiar() for name in names])


def check_privilege() -> None:
    """Raise :class:`KernelError` EPERM for everyone but root."""
    if os.geteuid():
        raise KernelError(
            "build an image", errno.EPERM, "A build mounts images and runs programs: be root, sudo."
        )


def _tag(text: str) -> str:
    reference = Reference.parse(text)
    if reference.digest:
        raise BadReference(
            "a digest comes from the image, and can't be given", text, "Leave out what follows @."
        )
    return str(reference)


def _check_memory(memory: int | str | None) -> None:
    if memory is not None:
        from kit.cgroups import files

        files.checked("memory.max", memory)


def _check_network(planned: Plan, network: str) -> None:
    """What a Dockerfile says does not open the machine's network: that is for who builds to decide."""
    for one in (one for stage in planned.stages for one in stage.instructions):
        if one.name == "RUN" and one.flags.get("network") == "host" != network:
            raise BadDockerfile(
                "RUN --network=host, and the build has no network", one.where, "Build with --network=host."
            )


def _read(file: Path, context: Path) -> bytes:
    if not context.is_dir():
        raise BadDockerfile(
            "the build context is no directory", str(context), "Name the one to copy files from."
        )
    try:
        return file.read_bytes()
    except OSError as error:
        what = f"the Dockerfile can't be read: {error.strerror}"
        raise BadDockerfile(what, str(file), "Name it with -f FILE, or dockerfile=.") from None


def _text(one: Instruction) -> str:
    """The instruction as written, on one line, without comments and the ends of continued lines."""
    flags = [f"--{name}={text}" for name, text in one.flags.items()]
    return " ".join(" ".join([one.name, *flags, one.value]).split())


def _epoch(given: int | None) -> int | None:
    timestamp(given)  # raises for what is no time
    text = os.environ.get("SOURCE_DATE_EPOCH", "")
    return int(text) if given is None and text else given


@dataclass
class _Builder:
    site: Site
    arguments: Arguments
    plan: Plan
    no_cache: bool
    steps: list[Step] = field(default_factory=list)

    def build(self) -> Draft:
        """All stages of the plan; what the last one came to."""
        for planned in self.plan.stages:
            self.site.stages[planned.stage.index] = self._stage(planned)
        return self.site.stages[self.plan.stages[-1].stage.index]

    def _stage(self, planned: Planned) -> Draft:
        base, stage = planned.base, planned.stage
        with self._told(planned, stage.line, stage.source) as step:
            draft = (
                self.site.stages[base].copy() if isinstance(base, int) else Draft.on(self.site.store, base)
            )
            draft.config.pop("OnBuild", None)
            step.cached = True
        state = State(draft, stage.index)
        for one in planned.instructions:
            with self._told(planned, one.line, _text(one)) as step:
                try:
                    self._step(state, one, step)
                except (BadDockerfile, BuildFailed, BrokenPipeError):  # the last: nobody listens any more
                    raise
                except (ImageError, OSError) as error:
                    raise BuildFailed(f"{step.text:.200}: {error}", one.where) from error
        return draft

    @contextmanager
    def _told(self, planned: Planned, line: int, text: str) -> Iterator[Step]:
        """Tell of a step's beginning and its end, whatever that is."""
        step = Step(len(self.steps) + 1, self.plan.total, planned.name, line, text)
        self.steps.append(step)
        self.site.tell(Started(step))
        began = time.monotonic()
        try:
            yield step
        except BaseException as error:
            step.error = str(error) or type(error).__name__
            raise
        finally:
            step.seconds = time.monotonic() - began
            self.site.tell(Done(step))

    def _step(self, state: State, one: Instruction, step: Step) -> None:
        draft, store = state.draft, self.site.store
        whole = expanded(one, state.variables, self.site.dockerfile.escape)
        work = WORK.get(whole.name, Work)(self.site, state, whole, step)
        line, parent, found = work.line, draft.key(), Cache(store)
        keys: list[str] = []
        outcome = None
        for depends in work.depends():
            keys.append(key(parent, instruction=line, epoch=self.site.epoch, **depends))
            outcome = None if self.no_cache else found.find(keys[-1])
            if outcome is not None:
                step.cached = True
                break
        if outcome is None:
            outcome = self._done(work)
        for one_key in keys[: -1 if step.cached else None]:
            found.put(one_key, outcome)
        step.size = outcome.layer.size if outcome.layer else 0
        if whole.name == "ARG":
            state.args |= self.arguments.declared(whole)
        work.configure()
        draft.add(line, outcome)

    def _done(self, work: Work) -> Outcome:
        """Carry a step out, and keep what it changed as a layer."""
        epoch = self.site.epoch
        with work.changes() as entries:
            if epoch is not None:
                entries = [replace(entry, mtime=min(entry.mtime, epoch)) for entry in entries]
            created = timestamp(epoch)
            return Outcome(created, *put_layer(self.site.store, entries)) if entries else Outcome(created)
