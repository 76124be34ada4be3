"""The form that all benchmarks share."""

import json

import pytest

from benchmarks.report import MISSING, Measurement, json_lines, main, measure, table, version

ONE = Measurement("start", "ms", [1.0, 2.0, 3.0], {"peer": [4.0, 4.0, 4.0], "absent": []})


def test_kit_and_peers_take_turns() -> None:
    calls: list[str] = []
    times = measure(
        {"kit": lambda: calls.append("k"), "peer": lambda: calls.append("p"), "absent": None}, 20, warmup=0
    )
    rounds = ["".join(calls[start : start + 2]) for start in range(0, 40, 2)]
    assert set(rounds) == {"kp", "pk"}  # each once a round, in either order
    assert {who: len(found) for who, found in times.items()} == {"kit": 20, "peer": 20, "absent": 0}


def test_seconds_become_the_unit() -> None:
    assert Measurement.of("start", "ms", {"kit": [0.5], "peer": []}, scale=1000) == Measurement(
        "start", "ms", [500.0], {"peer": []}
    )


def test_json_has_one_object_per_peer() -> None:
    first, second = map(json.loads, json_lines([ONE], {}).splitlines())
    wanted = {"name": "start", "unit": "ms", "kit": 2.0, "peer": "peer", "peer_value": 4.0, "ratio": 0.5}
    assert wanted.items() <= first.items()
    assert (second["peer"], second["peer_value"], second["ratio"], second["note"]) == (
        "absent",
        None,
        None,
        MISSING,
    )


def test_table_says_which_peer_is_missing_and_which_versions_ran() -> None:
    text = table([ONE], {"peer": "peer 1.0"})
    assert f"absent  {MISSING}" in text
    assert "peer: peer 1.0" in text
    assert "linux: " in text


def test_a_program_that_is_not_there_has_no_version() -> None:
    assert version("no-such-program-here") == MISSING


def test_runs_below_one_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(lambda runs: [], argv=["--runs", "0"])
    assert "--runs must be at least 1" in capsys.readouterr().err
