"""Without root, each command ends with a sentence and a fitting exit status, and none with a traceback."""

import json
import os
import subprocess
from pathlib import Path

from tests.unprivileged.command import PROJECT, kit


def test_doctor_names_what_is_missing_and_the_remedy() -> None:
    answer = kit("doctor")
    assert answer.returncode == 1
    assert "Missing: root" in answer.stdout
    assert "sudo make lab" in answer.stdout


def test_doctor_says_the_same_to_machines() -> None:
    answer = kit("doctor", "--json")
    report = json.loads(answer.stdout)
    assert (answer.returncode, report["ok"]) == (1, False)
    rows = {row["name"]: row for row in report["rows"]}
    assert rows["root"]["works"] == "no"
    assert all(row["remedy"] for row in rows.values() if row["works"] == "no")


def test_clean_has_nothing_to_remove() -> None:
    assert kit("clean", "--dry-run").returncode == 0
    assert kit("clean").returncode == 0


def test_progress_is_ones_own() -> None:
    assert kit("progress").returncode == 0


def test_a_missing_system_package_without_sudo_is_a_sentence(tmp_path: Path) -> None:
    for program in ("bash", "dirname", "dpkg-query", "apt-get", "id", "uname"):
        found = next(folder for folder in ("/usr/bin", "/bin") if os.path.exists(f"{folder}/{program}"))
        (tmp_path / program).symlink_to(f"{found}/{program}")
    answer = subprocess.run(
        ["bash", "-c", ". tools/common.sh; apt_install 'make lab' bash no-such-package-here"],
        cwd=PROJECT,
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert answer.returncode == 1
    assert "there is no sudo here. As root: apt-get install no-such-package-here" in answer.stderr
