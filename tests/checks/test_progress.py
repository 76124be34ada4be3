"""The progress file: many writers, damage, and what the table says of it."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kit.checks import progress
from kit.checks.progress import Record
from kit.linux.errors import KernelError

from .conftest import Sleeper

COURSE = Path(__file__).resolve().parents[2]


def test_it_lies_in_the_state_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/somewhere")
    assert progress.path() == Path("/somewhere/kit/progress.json")
    for ignored in ("", "relative/path"):
        monkeypatch.setenv("XDG_STATE_HOME", ignored)
        assert progress.path() == Path.home() / ".local/state/kit/progress.json"


def test_many_writers_at_once_lose_nothing(state: Path) -> None:
    program = (
        "from kit.checks import progress\n"
        "def more(record): record.checks += 1\n"
        "for _ in range(25): progress.update('03.1', more); progress.update('04.1', more)\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", program], cwd=COURSE) for _ in range(4)]
    assert [writer.wait(60) for writer in writers] == [0] * 4
    assert {name: record.checks for name, record in progress.records().items()} == {"03.1": 100, "04.1": 100}


def test_progress_survives_the_process(exercise: Sleeper) -> None:
    program = "from tests.checks.conftest import Sleeper; print(Sleeper().given.seconds)"
    out = subprocess.run(
        [sys.executable, "-c", program], cwd=COURSE, capture_output=True, text=True, check=True
    )
    assert out.stdout.strip() == str(exercise.given.seconds)


DAMAGED = [
    b"",
    b"{",
    b"\xff\xfe\x00",
    b"[]",
    b"null",
    b'{"version": 1}',
    b'{"version": 99, "exercises": {}}',
    b'{"version": 1, "exercises": {"03.1": 7}}',
    b'{"version": 1, "exercises": {"03.1": {"unknown": 1}}}',
    b'{"version": 1, "exercises": {"03.1": {"checks": "many"}}}',
]


def test_a_damaged_file_is_set_aside_and_nothing_is_lost(state: Path) -> None:
    state.mkdir()
    file = state / "progress.json"
    for content in DAMAGED:
        file.write_bytes(content)
        with pytest.warns(UserWarning, match=r"cannot be read .* kept as progress\.json\.damaged-"):
            assert progress.records() == {}
        assert not file.exists()
        progress.update("03.1", lambda record: setattr(record, "checks", 1))
        assert progress.records()["03.1"].checks == 1
    aside = [path.read_bytes() for path in state.glob("progress.json.damaged-*")]
    assert sorted(aside) == sorted(DAMAGED)


def test_an_attempt_under_way_goes_on_when_the_file_is_damaged(exercise: Sleeper, state: Path) -> None:
    exercise.hint()
    (state / "progress.json").write_text("{")
    with pytest.warns(UserWarning, match="cannot be read"):
        exercise.check(None)
    record = progress.records()["03.1"]
    assert (record.parameters["seconds"], record.hints, record.checks) == (exercise.given.seconds, 1, 1)


def test_a_write_that_fails_leaves_the_old_file(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    progress.update("03.1", lambda record: setattr(record, "checks", 3))
    before = (state / "progress.json").read_bytes()
    (state / "progress.json.new").mkdir()  # the next write cannot open its new file, root or not
    with pytest.raises(KernelError, match=r"keeping progress in .*EISDIR.*XDG_STATE_HOME") as caught:
        progress.update("03.1", lambda record: setattr(record, "checks", 4))
    assert caught.value.errno == errno.EISDIR
    assert (state / "progress.json").read_bytes() == before


def test_a_full_disk_leaves_the_old_file(state: Path) -> None:
    """RLIMIT_FSIZE makes write(2) fail in the middle of the new file, as a full disk would."""
    progress.update("03.1", lambda record: setattr(record, "checks", 3))
    program = (
        "import resource, signal\n"
        "from kit.checks import progress\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64))\n"
        "progress.update('03.1', lambda record: setattr(record, 'title', 'x' * 5000))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=COURSE, capture_output=True, text=True)
    assert done.returncode == 1 and "EFBIG" in done.stderr
    assert progress.records()["03.1"] == Record(checks=3)
    assert sorted(one.name for one in progress.path().parent.iterdir()) == ["progress.json", "progress.lock"]


def test_the_table_names_every_exercise_begun_or_not(exercise: Sleeper) -> None:
    exercise.check(None)
    rows = {row["name"]: row for row in progress.state()}
    assert rows["03.1"]["attempts"] == 1 and rows["03.1"]["chapter"] == "03"
    table = progress.table()
    assert f"0 of {len(rows)} solved" in table.note and str(progress.path()) in table.note
    (row,) = [row for row in table.rows if row[0] == "03.1"]
    assert row[2:] == ["begun", "", "1", "1"]


def test_the_file_is_json_that_a_person_can_read(exercise: Sleeper, state: Path) -> None:
    content = json.loads((state / "progress.json").read_text())
    assert content["version"] == progress.VERSION and content["exercises"]["03.1"]["title"] == exercise.title
    assert os.listdir(state) and not (state / "progress.json.new").exists()


def test_a_file_that_may_not_be_read_is_told_with_the_remedy(state: Path) -> None:
    progress.path().mkdir(parents=True)  # a directory: refused to root as well
    with pytest.raises(KernelError, match=r"reading progress from .*EISDIR.*XDG_STATE_HOME"):
        progress.records()
