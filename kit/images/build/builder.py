"""Carrying out a Dockerfile: checked first, then stage by stage, step by step, and a name only at the end."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from kit.images.build.arguments import before_from, unused
from kit.images.build.context import Context
from kit.images.build.dockerfile import parse
from kit.images.build.errors import BadDockerfile, BuildFailed
from kit.images.build.events import Done, Event, Started, Step, Warned
from kit.images.build.ignore import Ignore
from kit.images.build.plan import Find, Plan
from kit.images.build.progress import Built
from kit.images.build.run import NETWORKS
from kit.images.build.steps import Site, Steps
from kit.images.commit import chosen_epoch
from kit.images.errors import BadReference, ImageError
from kit.images.image import Image
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
    find: Find | None = None,
    progress: Callable[[Event], None] | None = None,
    source_date_epoch: int | None = None,
) -> Built:
    """Build the image that ``dockerfile`` (by default the context's own) describes, and give it ``tags``.

    ``context`` is the directory that COPY and ADD take from. ``target`` is the stage to stop at. ``network``
    is what a RUN has of it: "none", "host", or the path of a network namespace to join. ``find`` is asked for
    the images that it is made from, by default :func:`kit.images.build.plan.find_or_make`. ``progress`` is
    called with each event of :mod:`kit.images.build.events`, and while a RUN is silent with an Output of
    nothing each second: what it raises ends the build. With ``source_date_epoch`` (seconds since 1970, by
    default $SOURCE_DATE_EPOCH) nothing in the image is younger than that, and the same input gives the same
    digest.

    Raises, before anything runs, :class:`BadDockerfile`, :class:`UnknownImage` for a base that isn't there,
    :class:`BadReference` for a tag, ValueError, :class:`KernelError` EPERM without root; then
    :class:`BuildFailed`. Whatever happens, nothing half made stays.
    """
    names = [_tag(tag) for tag in tags]
    if network not in NETWORKS and not network.startswith("/"):
        raise ValueError(f"network is {' or '.join(NETWORKS)} or a namespace's path, and not {network!r}")
    epoch = chosen_epoch(source_date_epoch)
    check_privilege()
    context = Path(context)
    file = context / "Dockerfile" if dockerfile is None else Path(dockerfile)
    parsed = parse(_read(file, context), file.name)
    given = dict(build_args or {})
    variables = before_from(parsed, given)
    tell = progress or (lambda event: None)
    with store.writing():
        plan = Plan(store, parsed, variables, target, find)
        _check_network(plan, network)
        for name in unused(given, (*parsed.args, *plan.instructions)):
            tell(Warned(f"The build argument {name} was not used: no ARG of these stages takes it."))
        with Context(context, Ignore.read(context, file)) as files:
            site = Site(store, files, parsed.escape, given, variables, network, no_cache, epoch, tell)
            builder = _Builder(site, plan)
            image = builder.build(labels or {})
        for name in names:
            store.tag(name, image.descriptor)
    return Built(image, builder.steps, [Reference.parse(name).familiar() for name in names])


def check_privilege() -> None:
    """Raise :class:`KernelError` EPERM for everyone but root."""
    if os.geteuid():
        remedy = "A build mounts images and runs programs: be root, sudo."
        raise KernelError("build an image", errno.EPERM, remedy)


def _tag(text: str) -> str:
    reference = Reference.parse(text)
    if reference.digest:
        raise BadReference("a digest comes from the image, and can't be given", text, "Leave out the @.")
    return str(reference)


def _check_network(plan: Plan, network: str) -> None:
    """What a Dockerfile says does not open the machine's network: that is for who builds to decide."""
    for one in plan.instructions:
        if one.flags.get("network") == "host" != network:
            what = "RUN --network=host, and the build has no network"
            raise BadDockerfile(what, one.where, "Build with --network=host.")


def _read(file: Path, context: Path) -> bytes:
    if not context.is_dir():
        raise BadDockerfile("the context is no directory", str(context), "Name the one to copy from.")
    try:
        return file.read_bytes()
    except OSError as error:
        what = f"the Dockerfile can't be read: {error.strerror}"
        raise BadDockerfile(what, str(file), "Name it with -f FILE, or dockerfile=.") from None


class _Builder:
    """The stages of a plan, one after the other; ``steps`` are those that were begun."""

    def __init__(self, site: Site, plan: Plan) -> None:
        self.site, self.plan = site, plan
        self.total = len(plan.stages) + len(plan.instructions)
        self.steps: list[Step] = []

    def build(self, labels: Mapping[str, str]) -> Image:
        """What the last stage comes to, with ``labels``."""
        for planned in self.plan.stages:
            with self._told(planned.name, planned.stage.line, planned.stage.text) as step:
                stage = Steps(self.site, planned)
                step.cached = True
            for one in planned.instructions:
                with self._told(planned.name, one.line, one.text) as step:
                    try:
                        stage.do(one, step)
                    except (BadDockerfile, BuildFailed, BrokenPipeError):  # the last: nobody listens any more
                        raise
                    except (ImageError, OSError) as error:
                        raise BuildFailed(f"{step.text:.200}: {error}", one.where) from error
            self.site.images[planned.stage.index] = image = stage.draft.write()
        if not labels:
            return image
        stage.label(labels)
        return stage.draft.write()

    @contextmanager
    def _told(self, stage: str, line: int, text: str) -> Iterator[Step]:
        """Tell of a step's beginning and its end, whatever that is."""
        step = Step(len(self.steps) + 1, self.total, stage, line, text)
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
