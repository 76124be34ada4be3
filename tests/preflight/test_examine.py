"""Running probes: whatever one does, the report goes on and nothing of it stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from kit.preflight import Probe, examine

ROOT = Path(__file__).resolve().parents[2]


def probe(function: str, *arguments: str, seconds: float = 20.0) -> Probe:
    return Probe(
        function, ("tests.preflight.unruly", function, *arguments), ("03",), "the usual remedy", seconds
    )


def until(condition, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def alive(pids):
    """Those that still run: a dead one may wait as a zombie for its new parent."""
    found = []
    for pid in pids:
        try:
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                found.append(pid)
        except psutil.NoSuchProcess:
            continue
    return found


def noted(note: Path) -> tuple[list[int], list[str]]:
    until(note.exists)
    pids, groups = note.read_text().splitlines()
    return [int(pid) for pid in pids.split()], groups.split()


def test_a_finding_becomes_a_row():
    (row,) = examine([probe("well")])
    assert (row.name, row.works, row.detail, row.chapters, row.remedy) == ("well", "yes", "well", ("03",), "")
    assert row.seconds > 0


def test_rows_come_in_the_order_of_the_probes():
    probes = [Probe(str(n), ("tests.preflight.unruly", "well", str(n)), (), "") for n in range(8)]
    assert [(row.name, row.detail) for row in examine(probes)] == [(str(n), str(n)) for n in range(8)]


def test_no_probes_no_rows():
    assert examine([]) == []


def test_a_remedy_of_its_own_goes_before_the_usual_one():
    stumbling, partly = examine([probe("leave"), probe("partly")])
    assert (stumbling.remedy, partly.remedy) == ("the usual remedy", "its own remedy")


def test_a_probe_that_hangs_is_cut_at_its_limit_with_all_that_it_made(tmp_path):
    note = tmp_path / "note"
    begin = time.monotonic()
    hung, well = examine([probe("hang", str(note), seconds=3), probe("well")])
    assert time.monotonic() - begin < 15
    assert (hung.works, hung.detail) == ("no", "no answer within 3 s")
    assert well.works == "yes"
    pids, groups = noted(note)
    until(lambda: not alive(pids))
    assert not [group for group in groups if os.path.exists(group)]


def test_a_probe_that_ignores_signals_is_cut_all_the_same():
    (row,) = examine([probe("deaf", seconds=0.5)])
    assert (row.works, row.detail) == ("no", "no answer within 0.5 s")


@pytest.mark.parametrize(
    ("function", "detail"),
    [
        ("stumble", "the probe itself failed: ZeroDivisionError: one by zero"),
        ("crash", "the probe's process ended by SIGSEGV before it could answer"),
        ("leave", "the probe's process ended with status 3 before it could answer"),
        ("refused", "EPERM (Operation not permitted)"),
    ],
)
def test_a_probe_that_fails_is_a_row(function, detail):
    failed, well = examine([probe(function), probe("well")])
    assert (failed.works, failed.detail) == ("no", detail)
    assert well.works == "yes"


def test_a_probe_that_does_not_exist_is_a_row():
    (row,) = examine([Probe("missing", ("kit.preflight.nowhere", "nothing"), (), "")])
    assert row.works == "no"
    assert "nowhere" in row.detail


def test_noise_does_not_mix_with_the_answer_and_what_a_probe_left_running_is_ended():
    (row,) = examine([probe("chatter")])
    assert (row.works, row.detail) == ("yes", "heard")
    assert row.seconds < 15  # the child that it left, for ten minutes, was not waited for


RUN = """
import sys
from kit.preflight import Probe, examine
examine([Probe("hang", ("tests.preflight.unruly", "hang", sys.argv[1]), (), "", 600.0)])
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_report_leaves_no_process_and_no_group(tmp_path, number):
    note = tmp_path / "note"
    report = subprocess.Popen([sys.executable, "-c", RUN, str(note)], cwd=ROOT, stderr=subprocess.PIPE)
    with report:
        pids, groups = noted(note)
        assert alive(pids) == pids
        report.send_signal(number)
        _, err = report.communicate(timeout=20)
    assert report.returncode in (-number, 1, 130)
    if number == signal.SIGINT:
        assert b"KeyboardInterrupt" in err
    until(lambda: not alive(pids))
    subprocess.run(
        [sys.executable, "-m", "kit", "clean"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL
    )
    assert not [group for group in groups if os.path.exists(group)]
    if number == signal.SIGINT and groups:
        assert err.count(b"Traceback") == 1
