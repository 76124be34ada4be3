"""What a build will do, found out before anything runs: the stages it needs, their bases, every step.

A stage that neither the target nor anything it stands on refers to is left out, and never costs anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kit.images.build.arguments import Arguments
from kit.images.build.dockerfile import Dockerfile, Stage
from kit.images.build.errors import BadDockerfile
from kit.images.build.expand import expand
from kit.images.build.instruction import Instruction, trigger
from kit.images.descriptor import Platform
from kit.images.errors import ImageError, NoSuchPlatform, UnknownImage
from kit.images.image import Image
from kit.images.reference import Reference
from kit.images.seed import BASES, seed
from kit.images.store import Store


@dataclass(frozen=True)
class Planned:
    """A stage that will be built. ``base`` is an image, the index of the stage it goes on from, or None for
    scratch; ``instructions`` begin with those that the base's ONBUILD asks for.
    """

    stage: Stage
    base: Image | int | None
    instructions: tuple[Instruction, ...]

    @property
    def name(self) -> str:
        """Its name, or else its number."""
        return self.stage.name or str(self.stage.index)


@dataclass
class Plan:
    """``stages`` in their order, the target last; ``images`` by the names that COPY --from calls them."""

    stages: list[Planned] = field(default_factory=list)
    images: dict[str, Image] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """How many steps there are; each FROM is one."""
        return sum(1 + len(one.instructions) for one in self.stages)


def plan(store: Store, dockerfile: Dockerfile, arguments: Arguments, target: str | None) -> Plan:
    """The plan for ``target``, by name or number, by default the last stage.

    A base image that the store lacks and the kit can make (busybox, python, hello-world) is made. Raises
    :class:`BadDockerfile`, :class:`UnknownImage`, :class:`NoSuchPlatform`, with the line.
    """
    last = dockerfile.stages[-1] if target is None else dockerfile.stage(target)
    if last is None:
        names = ", ".join(stage.name or str(stage.index) for stage in dockerfile.stages)
        raise BadDockerfile(f"no stage is called {target!r}", dockerfile.path, f"There are: {names}.")
    found: dict[int, Planned] = {}
    made = Plan()
    _need(store, dockerfile, arguments, last, made, found)
    made.stages = [found[index] for index in sorted(found)]
    return made


def _need(
    store: Store,
    dockerfile: Dockerfile,
    arguments: Arguments,
    stage: Stage,
    made: Plan,
    found: dict[int, Planned],
) -> None:
    """Add a stage, and before it those that it refers to."""
    if stage.index in found:
        return
    where = f"{dockerfile.path}:{stage.line}"
    name = expand(stage.base, arguments.before_from, dockerfile.escape, where)
    platform = expand(stage.platform, arguments.before_from, dockerfile.escape, where)
    base: Image | int | None
    triggers: list[str] = []
    if (other := dockerfile.stage(name, stage.index)) is not None and not name.isdigit():
        _need(store, dockerfile, arguments, other, made, found)
        base = other.index
        triggers = [one.value for one in found[other.index].instructions if one.name == "ONBUILD"]
    elif name == "scratch":
        base = None
    else:
        base = _image(store, name, where, platform)
        triggers = (base.config.get("config") or {}).get("OnBuild") or []
    instructions = (
        *(trigger(text, where, dockerfile.escape) for text in triggers),
        *stage.instructions,
    )
    for one in instructions:
        if source := one.flags.get("from"):
            if (other := dockerfile.stage(source, stage.index)) is not None:
                _need(store, dockerfile, arguments, other, made, found)
            elif source not in made.images:
                made.images[source] = _image(store, source, one.where)
    found[stage.index] = Planned(stage, base, instructions)


def _image(store: Store, name: str, where: str, platform: str = "") -> Image:
    """The image of that name in the store; the error says in which line it is asked for."""
    try:
        wanted = Platform.parse(platform) if platform else None
        try:
            image = Image.find(store, name, wanted)
        except UnknownImage:
            short = Reference.parse(name).familiar().removesuffix(":latest")
            if short not in BASES:
                raise
            image = seed(store, [short])[short]
        there = image.platform
        if wanted and (wanted.os, wanted.architecture) != (there.os, there.architecture):
            raise NoSuchPlatform(f"{name} is for {there} and not for {wanted}")
        return image
    except ImageError as error:
        error.where = f"{where}, {error.where}" if error.where else where
        raise


def unused(dockerfile: Dockerfile, planned: Plan, given: Mapping[str, str], known: set[str]) -> list[str]:
    """The build arguments that no ARG takes."""
    declared = {
        word.partition("=")[0]
        for one in (*dockerfile.args, *(i for stage in dockerfile.stages for i in stage.instructions),
                    *(i for stage in planned.stages for i in stage.instructions))
        if one.name == "ARG"
        for word in one.words
    }  # fmt: skip
    return sorted(set(given) - declared - known)
