"""How images show themselves: ages as Docker rounds them, and the same text in every run of a notebook."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from kit.images import shown
from kit.images.image import Image
from kit.images.store import Store
from tests.images.images import image

NOW = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("ago", "text"),
    [
        ({"seconds": 0}, "0 seconds"),
        ({"seconds": 1}, "1 second"),
        ({"seconds": 89}, "89 seconds"),
        ({"seconds": 90}, "2 minutes"),
        ({"minutes": 89}, "89 minutes"),
        ({"minutes": 90}, "2 hours"),
        ({"hours": 47}, "47 hours"),
        ({"hours": 48}, "2 days"),
        ({"days": 13}, "13 days"),
        ({"days": 14}, "2 weeks"),
        ({"days": 60}, "2 months"),
        ({"days": 730}, "2 years"),
        ({"days": -1}, "0 seconds"),
    ],
)
def test_an_age_has_one_unit(ago: dict[str, int], text: str) -> None:
    assert shown.age((NOW - timedelta(**ago)).isoformat(), NOW) == f"{text} ago"


@pytest.mark.parametrize("created", [None, "", "yesterday", 7, {}, "2026-13-01T00:00:00Z"])
def test_what_is_no_time_has_no_age(created: object) -> None:
    assert shown.age(created, NOW) == ""


def test_nanoseconds_and_zones_are_read() -> None:
    assert shown.age("2026-05-31T23:59:59.123456789Z", NOW) == "0 seconds ago"
    assert shown.age("2026-06-01T01:59:00+02:00", NOW) == "60 seconds ago"


def test_in_a_notebook_the_text_is_fixed_and_the_rest_is_measured(tmp_path: Path) -> None:
    store = Store(tmp_path)
    image(store, "docker.io/library/one:latest", config={"Cmd": ["<b>"], "Env": ["A=b"]})
    for thing, title in ((store, "Images"), (Image.find(store, "one"), "Image")):
        bundle = thing._repr_mimebundle_()
        assert bundle["text/plain"] == title
        assert "one" in bundle["text/html"] and "<b>" not in bundle["text/html"]
        before, _, rest = bundle["text/html"].partition("<!--m-->")
        assert "latest" not in before and "latest" in rest


def test_a_name_that_other_tools_gave_stands_as_it_is() -> None:
    assert shown.split("docker.io/library/one:latest") == ("one", "latest")
    assert shown.split("localhost:5000/a/b:1") == ("localhost:5000/a/b", "1")
    assert shown.split(f"one@sha256:{'0' * 64}") == ("one", "<none>")
    assert shown.split("A+B") == ("A+B", "<none>")
