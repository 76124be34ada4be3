"""Images as people look at them: the lists of `docker images` and `docker history`, the JSON of `inspect`."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from kit.images.documents import Document
from kit.images.errors import BadReference, ImageError
from kit.images.find import names
from kit.images.image import Image
from kit.images.reference import Reference
from kit.images.store import UNNAMED, Store
from kit.show import Table, size

_LONG = 45  # characters of a history's line, as Docker cuts them
_DAY = 86400  # seconds
_UNITS = (  # from so many seconds on, each of so many
    ("year", 730 * _DAY, 365 * _DAY),
    ("month", 60 * _DAY, 30 * _DAY),
    ("week", 14 * _DAY, 7 * _DAY),
    ("day", 2 * _DAY, _DAY),
    ("hour", 5400, 3600),
    ("minute", 90, 60),
    ("second", 0, 1),
)


def images(store: Store, digests: bool = False) -> Table:
    """Every name with its image; ``digests`` are those of the manifests. Sizes are of the layers as kept.

    What is wrong with an image that can't be read stands below the table.
    """
    rows, notes = [], []
    for name, descriptor in store.tags().items():
        repository, tag = split(name)
        try:
            image = Image.of(store, descriptor)
            row = [image.id[7:19], age(image.config.get("created")), size(image.size)]
        except ImageError as error:
            row = ["<unknown>", "", ""]
            notes.append(f"{repository}:{tag}: {error}")
        rows.append([repository, tag, *([descriptor.digest] if digests else []), *row])
    columns = ["REPOSITORY", "TAG", *(["DIGEST"] if digests else []), "IMAGE ID", "CREATED", "SIZE"]
    return Table("Images", columns, rows, "\n".join(notes))


def history(image: Image, cut: bool = True) -> Table:
    """How the image came about, newest first. Sizes are of the layers as kept, 0 B where there is none."""
    layers, rows = iter(image.layers), []
    for line in image.history:
        layer = None if line.get("empty_layer") else next(layers, None)
        by = _plain(line.get("created_by") or "").removeprefix("/bin/sh -c #(nop) ").strip()
        if cut and len(by) > _LONG:
            by = f"{by[: _LONG - 1]}…"
        rows.append(["<missing>", age(line.get("created")), by, size(layer.size if layer else 0)])
    if rows:
        rows[-1][0] = image.id[7:19] if cut else image.id
    return Table("History", ["IMAGE", "CREATED", "CREATED BY", "SIZE"], rows[::-1])


def inspect(image: Image) -> Document:
    """What `docker image inspect` tells, under its keys."""
    tags = [split(name) for name in names(image.store, image) if not name.startswith(UNNAMED)]
    platform = image.platform
    return {
        "Id": image.id,
        "RepoTags": [f"{repository}:{tag}" for repository, tag in tags],
        "RepoDigests": sorted({f"{repository}@{image.descriptor.digest}" for repository, _ in tags}),
        "Created": image.config.get("created", ""),
        "Author": image.config.get("author", ""),
        "Architecture": platform.architecture,
        **({"Variant": platform.variant} if platform.variant else {}),
        "Os": platform.os,
        "Size": image.size,
        "Config": image.config.get("config") or {},
        "RootFS": {"Type": "layers", "Layers": image.diff_ids},
    }


def card(image: Image) -> Table:
    """One image in a few rows: what it is called, what it holds, what it runs."""
    about = inspect(image)
    rows: dict[str, object] = {
        "names": ", ".join(about["RepoTags"]),
        "id": image.id[7:19],
        "created": about["Created"],
        "platform": image.platform,
        "layers": f"{len(image.layers)}, {size(image.size)}",
    }
    for key in ("Entrypoint", "Cmd", "User", "WorkingDir", "Env"):
        if value := about["Config"].get(key):
            rows[key] = json.dumps(value, ensure_ascii=False) if isinstance(value, list) else value
    return Table("Image", ["", ""], [(key, _plain(text)) for key, text in rows.items()])


def _plain(text: object) -> str:
    """A stranger's text, so that a terminal shows it and does nothing else."""
    return "".join(one if one.isprintable() else "�" for one in str(text))


def split(name: str) -> tuple[str, str]:
    """Repository and tag as Docker shows them; a name that other tools gave stands as it is."""
    if name.startswith(UNNAMED):
        return "<none>", "<none>"
    try:
        reference = Reference.parse(name)
    except BadReference:
        return name, "<none>"
    return Reference(reference.registry, reference.repository).familiar(), reference.tag or "<none>"


def age(created: object, now: datetime | None = None) -> str:
    """How long ago a time of the OCI image-spec was, as Docker rounds it; empty for what is none."""
    try:
        then = datetime.fromisoformat(str(created))
        seconds = int(((now or datetime.now(UTC)) - then.replace(tzinfo=then.tzinfo or UTC)).total_seconds())
    except ValueError:
        return ""
    seconds = max(seconds, 0)
    unit, _, length = next(one for one in _UNITS if seconds >= one[1])
    count = round(seconds / length) if length < _DAY else seconds // length
    return f"{count} {unit}{'' if count == 1 else 's'} ago"
