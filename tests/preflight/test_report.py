"""The report as text, HTML, JSON and exit status; and what an ordinary user is told."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import kit
from kit.preflight import PROBES, Report, Row
from kit.preflight.report import PRESENT

ROOT = Path(__file__).resolve().parents[2]

GOOD = Row("root", "yes", "user id 0", ("00", "03"), "", 0.1)
SLOW = Row("KVM", "partly", "emulated <slowly>", ("01",), "do & wait", 0.2)
BAD = Row("UTS namespace", "no", "EPERM (Operation not permitted)", ("03", "06"), "sudo make lab", 0.3)
SPARE = Row("user namespace without root", "no", "refused", (), "sysctl", 0.1)


def doctor(*words: str, prefix: tuple[str, ...] = ()) -> subprocess.CompletedProcess:
    argv = [*prefix, sys.executable, "-m", "kit", "doctor", *words]
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_ok_means_that_the_present_chapters_have_all_they_need():
    assert Report([GOOD, SLOW, SPARE]).ok
    report = Report([GOOD, SLOW, BAD])
    assert not report.ok
    assert report.missing == [BAD]
    assert report.verdict.endswith("Missing: UTS namespace.")


def test_partly_is_not_enough_for_a_present_chapter():
    assert not Report([Row("mount namespace", "partly", "only inside", ("03",), "sudo", 0.1)]).ok


def test_a_row_is_found_by_its_name():
    assert Report([GOOD, BAD])["UTS namespace"] is BAD
    with pytest.raises(KeyError, match="no row is called 'uts'; there are root, UTS namespace"):
        Report([GOOD, BAD])["uts"]


def test_text_says_everything_and_keeps_a_remedy_in_one_line():
    long = Row("kernel to boot", "no", "word " * 60, ("01",), "cd /tmp && " + "a-very-long-word " * 20, 0.1)
    text = str(Report([GOOD, BAD, long]))
    for piece in (
        "✔ yes",
        "✘ no",
        "EPERM",
        "[needed by 03 06]",
        "→ sudo make lab",
        "Missing: UTS namespace.",
    ):
        assert piece in text
    assert "→ " + long.remedy in text


def test_html_differs_only_between_the_markers_and_text_plain_is_fixed():
    strip = re.compile(r"(?s)<!--m-->.*?<!--/m-->")
    first, second = (Report(rows)._repr_mimebundle_() for rows in ([GOOD, BAD], [SLOW]))
    assert first["text/plain"] == second["text/plain"] == "What this machine can do for the course"
    assert first["text/html"] != second["text/html"]
    assert strip.sub("", first["text/html"]) == strip.sub("", second["text/html"])


def test_html_is_escaped_and_does_not_speak_by_colour_alone():
    html = Report([SLOW])._repr_mimebundle_()["text/html"]
    assert "emulated &lt;slowly&gt;" in html
    assert "do &amp; wait" in html
    assert "◐ partly" in html


def test_every_probe_has_a_name_of_its_own_a_remedy_and_real_chapters():
    names = [probe.name for probe in PROBES]
    assert len(names) == len(set(names))
    for probe in PROBES:
        assert probe.remedy
        assert set(probe.chapters) <= {f"{number:02}" for number in range(9)}


def test_json_and_exit_status_agree_with_each_other():
    done = doctor("--json")
    found = json.loads(done.stdout)
    assert set(found) == {"ok", "verdict", "chapters", "rows"}
    assert found["chapters"] == list(PRESENT)
    assert [row["name"] for row in found["rows"]] == [probe.name for probe in PROBES]
    for row in found["rows"]:
        assert set(row) == {"name", "works", "detail", "chapters", "remedy", "seconds"}
        assert row["works"] in ("yes", "partly", "no")
        assert row["detail"]
        assert bool(row["remedy"]) == (row["works"] != "yes")
    needed = [row for row in found["rows"] if set(row["chapters"]) & set(PRESENT)]
    assert found["ok"] == all(row["works"] == "yes" for row in needed)
    assert done.returncode == (0 if found["ok"] else 1)
    assert done.stderr == ""


@pytest.mark.needs("root")
def test_in_a_cell_it_is_one_call():
    report = kit.doctor()
    assert isinstance(report, Report)
    assert report["root"].works == "yes"
    assert report["UTS namespace"].works == "yes"


@pytest.mark.needs("root", "setpriv", "unshare")
def test_an_ordinary_user_gets_honest_rows_and_no_traceback():
    as_nobody = (str(ROOT / "tools" / "unprivileged.sh"),)
    done = doctor("--json", prefix=as_nobody)
    assert "Traceback" not in done.stdout + done.stderr
    found = json.loads(done.stdout)
    rows = {row["name"]: row for row in found["rows"]}
    assert (done.returncode, found["ok"]) == (1, False)
    assert rows["root"]["works"] == "no"
    assert rows["root"]["detail"].startswith("user id 65534 with 0 of ")
    assert "sudo" in rows["root"]["remedy"]
    allowed = rows["user namespace without root"]["works"] == "yes"
    for kind in ("mount", "UTS", "IPC", "PID", "network", "cgroup", "time"):
        row = rows[f"{kind} namespace"]
        assert row["works"] == ("partly" if allowed else "no")
        assert ("only inside a user namespace" if allowed else "EPERM") in row["detail"]
    for row in found["rows"]:
        assert "the probe itself failed" not in row["detail"], row
