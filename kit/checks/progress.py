"""What the learner has reached, kept in one JSON file that outlives notebook kernels.

The file is ``$XDG_STATE_HOME/kit/progress.json`` (``~/.local/state/kit`` by default). Writers take turns by
an exclusive `flock` on a file beside it, and replace it by `rename`, so a reader sees the old state or the
new one and never half of one, whatever else happens: two notebooks at once, a kernel killed while writing, a
full disk. Sources: flock(2), rename(2), the XDG Base Directory Specification.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from kit.linux.errors import KernelError
from kit.show import Table

VERSION = 1


class Damaged(ValueError):
    """The progress file does not hold what this module writes."""


@dataclass
class Record:
    """One exercise: its current attempt, and what was reached over all attempts. Times are UTC, ISO 8601."""

    title: str = ""
    attempts: int = 0
    parameters: dict[str, Any] = field(default_factory=dict)
    checks: int = 0
    hints: int = 0  # given in this attempt; one more than there are hints: the solution was shown
    solution_seen: bool = False
    begun: str = ""
    solved: str = ""  # when it was first solved; "" = not yet
    solved_with: str = ""  # "no hints", "2 hints", "the solution"


def path() -> Path:
    """Where progress is kept. A relative XDG_STATE_HOME is ignored, as the specification asks."""
    home = os.environ.get("XDG_STATE_HOME", "")
    base = Path(home) if os.path.isabs(home) else Path.home() / ".local" / "state"
    return base / "kit" / "progress.json"


def records() -> dict[str, Record]:
    """Every exercise begun so far, by name. A damaged file is set aside with a warning, never deleted.

    Raises KernelError when the file may not be read (EACCES: root has written it, or it is another user's).
    """
    file = path()
    try:
        try:
            return _read(file)
        except Damaged:
            with _locked(file):
                return _read_or_set_aside(file)
    except OSError as error:
        remedy = "be who wrote it, or point XDG_STATE_HOME at a directory of your own"
        raise KernelError(
            f"reading progress from {file}", error.errno or 0, remedy, path=str(file)
        ) from error


def update(name: str, change: Callable[[Record], None]) -> Record:
    """Apply `change` to the record of exercise `name` while no other notebook writes; returns the new record.

    Raises KernelError when the state cannot be kept (EACCES, EROFS, ENOSPC ...); the file is then as it was.
    """
    file = path()
    try:
        with _locked(file):
            everything = _read_or_set_aside(file)
            record = everything.setdefault(name, Record())
            change(record)
            _write(file, everything)
            return record
    except OSError as error:
        remedy = "free some space, or point XDG_STATE_HOME at a directory that you may write to"
        raise KernelError(f"keeping progress in {file}", error.errno or 0, remedy, path=str(file)) from error


def now() -> str:
    """The current time in UTC, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def state() -> list[dict[str, Any]]:
    """Every exercise of the course in order, begun or not: a Record's fields, and "name" and "chapter"."""
    from kit.checks.notebooks import catalogue

    titles, begun = catalogue(), records()
    rows = []
    for name in sorted({*titles, *begun}, key=lambda name: [part.zfill(4) for part in name.split(".")]):
        record = begun.get(name, Record())
        rows.append(
            asdict(record) | {"name": name, "chapter": name[:2], "title": titles.get(name) or record.title}
        )
    return rows


def table() -> Table:
    """The same as a table for a cell or a terminal."""
    everything = state()
    rows = []
    for row in everything:
        reached = row["solved"][:10] or ("begun" if row["attempts"] else "")
        counts = [row["attempts"] or "", row["checks"] or ""]
        rows.append([row["name"], row["title"], reached, row["solved_with"], *counts])
    file = str(path())
    if file.startswith(home := f"{Path.home()}/"):
        file = "~/" + file.removeprefix(home)
    note = f"{sum(bool(row['solved']) for row in everything)} of {len(everything)} solved; kept in {file}"
    return Table("Progress", ["exercise", "title", "first solved", "with", "attempts", "checks"], rows, note)


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    file.parent.mkdir(parents=True, exist_ok=True)
    with open(file.with_suffix(".lock"), "w") as lock:  # not the file itself: rename gives it a new inode
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _read(file: Path) -> dict[str, Record]:
    try:
        return _parse(file.read_bytes())
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise Damaged(f"{type(error).__name__}: {error}") from error


def _read_or_set_aside(file: Path) -> dict[str, Record]:
    """Only under the lock: else the file set aside could be a good one that another has just written."""
    try:
        return _read(file)
    except Damaged as damage:
        stamp = f"{time.strftime('%Y%m%d-%H%M%S')}-{time.time_ns() % 10**6:06}"
        aside = file.with_name(f"{file.name}.damaged-{stamp}")
        os.rename(file, aside)
        warnings.warn(
            f"The progress file {file} cannot be read ({damage}). It is kept as {aside.name} beside it, and "
            "progress starts anew; if you can mend it, rename it back.",
            stacklevel=4,
        )
        return {}


def _parse(text: bytes) -> dict[str, Record]:
    content = json.loads(text)
    if content["version"] != VERSION:
        raise ValueError(f"written by another version of the kit: {content['version']!r}")
    found = {name: Record(**values) for name, values in content["exercises"].items()}
    for name, record in found.items():
        for each in fields(Record):
            value, kind = getattr(record, each.name), type(getattr(Record(), each.name))
            if type(value) is not kind:
                raise ValueError(f"{name}.{each.name} is {value!r}, not of type {kind.__name__}")
    return found


def _write(file: Path, everything: dict[str, Record]) -> None:
    content = {"version": VERSION, "exercises": {name: asdict(record) for name, record in everything.items()}}
    new = file.with_name(f"{file.name}.new")  # only one writer at a time: the lock is held
    try:
        with open(new, "w", encoding="utf-8") as out:
            json.dump(content, out, indent=1, ensure_ascii=False, sort_keys=True)
            out.write("\n")
            out.flush()
            os.fsync(out.fileno())
        os.replace(new, file)
    except BaseException:
        new.unlink(missing_ok=True)  # half a file, on a full disk at that
        raise
