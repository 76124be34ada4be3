"""What a build will do, found out before anything runs: the stages it needs, their bases, every step.

A stage that neither the target nor anything it stands on refers to is left out, and never costs anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

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

#: An image by its name, for a platform or for this machine's.
Find = Callable[[str, Platform | None], Image]


def find_or_make(store: Store, name: str, platform: Platform | None) -> Image:
    """An image of the store; one that it lacks and the kit can make, such as busybox, is made."""
    try:
        return Image.find(store, name, platform)
    except UnknownImage:
        short = Reference.parse(name).familiar().removesuffix(":latest")
        if short not in BASES:
            raise
        return seed(store, [short])[short]


@dataclass(frozen=True)
class Planned:
    """A stage that will be built.

    ``base`` is an image, the index of another stage, or None for scratch; so is what each COPY --from means,
    in ``sources``. ``instructions`` begin with those that the base's ONBUILD asks for.
    """

    stage: Stage
    base: Image | int | None
    instructions: list[Instruction]
    sources: dict[str, Image | int]

    @property
    def name(self) -> str:
        """Its name, or else its number."""
        return self.stage.name or str(self.stage.index)


class Plan:
    """The stages of a Dockerfile that a build of ``target`` needs, in their order.

    ``target`` is the name or number of one, by default the last; ``find`` finds the images that they stand
    on, by default :func:`find_or_make`. Raises :class:`BadDockerfile`, :class:`UnknownImage`,
    :class:`NoSuchPlatform`, with the line.
    """

    def __init__(
        self,
        store: Store,
        dockerfile: Dockerfile,
        variables: Mapping[str, str],
        target: str | None,
        find: Find | None = None,
    ) -> None:
        self.dockerfile, self.variables = dockerfile, variables
        self.find = find or partial(find_or_make, store)
        last = dockerfile.stages[-1] if target is None else dockerfile.stage(target)
        if last is None:
            names = ", ".join(stage.name or str(stage.index) for stage in dockerfile.stages)
            raise BadDockerfile(f"no stage is called {target!r}", dockerfile.path, f"There are: {names}.")
        self.stages: list[Planned] = []
        needed: set[Image | int | None] = {last.index}
        for stage in reversed(dockerfile.stages[: last.index + 1]):
            if stage.index in needed:
                planned = self._planned(stage)
                needed |= {planned.base, *planned.sources.values()}
                self.stages.insert(0, planned)

    @property
    def instructions(self) -> list[Instruction]:
        """Those of all stages; FROM is not among them."""
        return [one for planned in self.stages for one in planned.instructions]

    def _planned(self, stage: Stage) -> Planned:
        where, escape = f"{self.dockerfile.path}:{stage.line}", self.dockerfile.escape
        name = expand(stage.base, self.variables, escape, where)
        platform = expand(stage.platform, self.variables, escape, where)
        base: Image | int | None = None
        triggers: list[str] = []
        if name.lower() == stage.name:  # FROM a AS a: there is no stage of that name yet
            base = self._image(name, where, platform)
        elif name != "scratch":
            base = self._named(name, stage, where, platform)
        if isinstance(base, int):
            above = self.dockerfile.stages[base].instructions
            triggers = [one.value for one in above if one.name == "ONBUILD"]
        elif base is not None:
            triggers = (base.config.get("config") or {}).get("OnBuild") or []
        instructions = [trigger(text, self.dockerfile.path, stage.line, escape) for text in triggers]
        instructions += stage.instructions
        copies = {one.flags["from"]: one.where for one in instructions if "from" in one.flags}
        sources = {name: self._named(name, stage, where) for name, where in copies.items()}
        return Planned(stage, base, instructions, sources)

    def _named(self, name: str, user: Stage, where: str, platform: str = "") -> Image | int:
        """What ``user`` means by a name: the index of a stage before it, or else an image of the store."""
        stage = self.dockerfile.stage(name)
        if stage is None:
            return self._image(name, where, platform)
        if stage.index >= user.index:
            what = f"{name:.100} is this stage itself, or one that comes later"
            raise BadDockerfile(what, where, "A stage takes from those above it.")
        return stage.index

    def _image(self, name: str, where: str, platform: str) -> Image:
        try:
            wanted = Platform.parse(platform) if platform else None
            image = self.find(name, wanted)
            there = image.platform
            if wanted and (wanted.os, wanted.architecture) != (there.os, there.architecture):
                raise NoSuchPlatform(f"{name} is for {there} and not for {wanted}")
            return image
        except ImageError as error:
            error.where = f"{where}, {error.where}" if error.where else where
            raise
