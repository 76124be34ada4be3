"""The figures stand in the pictures and their words as they were given."""

import pytest

from kit import lab

COSTS = {
    "4 processes": {"start": 0.0123, "memory": 2_000_000, "disk": 1_100_000},
    "4 containers": {"start": 0.0452, "memory": 2_900_000, "disk": 1_200_000},
    "4 VMs": {"start": 4.8, "memory": 869_000_000},
}


def test_costs(check_picture):
    picture = lab.costs(COSTS, "four applications")
    check_picture(picture)
    assert picture.alt == (
        "four applications. 4 processes: start 12.3 ms, memory 2 MB, disk 1.1 MB; "
        "4 containers: start 45.2 ms, memory 2.9 MB, disk 1.2 MB; 4 VMs: start 4.8 s, memory 869 MB."
    )
    check_picture(lab.costs({"one": {"start": 1}}))


def test_starts(check_picture):
    picture = lab.starts({"processes": [0.0005, 0.0006, 0.002], "containers": [0.0301]})
    check_picture(picture)
    assert "processes: 3 starts, median 0.6 ms, from 0.5 ms to 2 ms" in picture.alt
    assert "containers: 1 start, median 30.1 ms" in picture.alt


@pytest.mark.parametrize(
    ("figures", "why"),
    [
        ({}, "0 rows"),
        ({key: {"start": 1} for key in "abcde"}, "5 rows"),
        ({"a": {"start": 0}}, "begins above zero"),
        ({"a": {}}, "begins above zero"),
        ({"a": {"time": 1}}, "there is no time; give start, memory, disk"),
    ],
)
def test_bad_costs(figures, why):
    with pytest.raises(ValueError, match=why):
        lab.costs(figures)


@pytest.mark.parametrize("times", [{}, {"a": []}, {"a": [1, -1]}, {key: [1] for key in "abcde"}])
def test_bad_times(times):
    with pytest.raises(ValueError, match="starts: "):
        lab.starts(times)
