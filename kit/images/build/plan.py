"""What a build will do, found out before anything runs: the stages it needs, their bases, every step.

A stage that neither the target nor anything it stands on refers to is left out, and never costs anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

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
    """The stages of a Dockerfile that a build of ``target`` needs, in their order, by index.

    ``target`` is the name or number of one, by default the last. A base image that the store lacks and the
    kit can make (busybox, python, hello-world) is made. Raises :class:`BadDockerfile`, :class:`UnknownImage`,
    :class:`NoSuchPlatform`, with the line.
    """

    def __init__(
        self, store: Store, dockerfile: Dockerfile, variables: Mapping[str, str], target: str | None
    ) -> None:
        self.store, self.dockerfile, self.variables = store, dockerfile, variables
        last = dockerfile.stages[-1] if target is None else dockerfile.stage(target)
        if last is None:
            names = ", ".join(stage.name or str(stage.index) for stage in dockerfile.stages)
            raise BadDockerfile(f"no stage is called {target!r}", dockerfile.path, f"There are: {names}.")
        self.stages: dict[int, Planned] = {}
        self._need(last)
        self.stages = dict(sorted(self.stages.items()))

    @property
    def instructions(self) -> list[Instruction]:
        """Those of all stages; FROM is not among them."""
        return [one for planned in self.stages.values() for one in planned.instructions]

    def _need(self, stage: Stage) -> None:
        """Plan a stage, and before it those that it refers to."""
        where, escape = f"{self.dockerfile.path}:{stage.line}", self.dockerfile.escape
        name, platform = (
            expand(text, self.variables, escape, where) for text in (stage.base, stage.platform)
        )
        base = None if name == "scratch" else self._named(name, stage, where, platform)
        triggers: list[str] = []
        if isinstance(base, int):
            triggers = [one.value for one in self.stages[base].instructions if one.name == "ONBUILD"]
        elif base is not None:
            triggers = (base.config.get("config") or {}).get("OnBuild") or []
        instructions = [trigger(text, self.dockerfile.path, stage.line, escape) for text in triggers]
        instructions += stage.instructions
        sources = {
            one.flags["from"]: self._named(one.flags["from"], stage, one.where)
            for one in instructions
            if "from" in one.flags
        }
        self.stages[stage.index] = Planned(stage, base, instructions, sources)

    def _named(self, name: str, user: Stage, where: str, platform: str = "") -> Image | int:
        """What ``user`` means by a name: the index of a stage before it, or else an image of the store."""
        stage = self.dockerfile.stage(name, user.index)
        if stage is not None:
            if stage.index not in self.stages:
                self._need(stage)
            return stage.index
        try:
            return self._image(name, platform)
        except ImageError as error:
            error.where = f"{where}, {error.where}" if error.where else where
            raise

    def _image(self, name: str, platform: str) -> Image:
        wanted = Platform.parse(platform) if platform else None
        try:
            image = Image.find(self.store, name, wanted)
        except UnknownImage:
            short = Reference.parse(name).familiar().removesuffix(":latest")
            if short not in BASES:
                raise
            image = seed(self.store, [short])[short]
        there = image.platform
        if wanted and (wanted.os, wanted.architecture) != (there.os, there.architecture):
            raise NoSuchPlatform(f"{name} is for {there} and not for {wanted}")
        return image
