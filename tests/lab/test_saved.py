"""A mirror's saved bytes, as its log and the registry behind it say."""

import os

import pytest

from kit import lab
from kit.images.entry import Entry
from kit.images.store import Store
from kit.registries import pull, push
from kit.registries.server import serve
from kit.show import size
from tests.lab.test_explorer import image


@pytest.fixture
def mirror(tmp_path, registry):
    """A mirror of a registry with an image of a megabyte, library/shop."""
    made = image(tmp_path, ("ADD data", Entry("data", "file", 0o644, data=os.urandom(1_000_000))))
    name = f"{registry.address}/library/shop:latest"
    made.store.tag(name, made.descriptor)
    push(made.store, name)
    registry.log.clear()
    with serve(tmp_path / "mirror", mirror_of=registry.url) as started:
        yield started


def test_a_class_that_pulls(tmp_path, registry, mirror, check_picture):
    for number in range(4):
        pull(Store(tmp_path / f"student{number}"), f"{mirror.address}/library/shop")
    picture = lab.saved(mirror)
    check_picture(picture)
    given, fetched = sum(one.sent for one in mirror.log), sum(one.sent for one in registry.log)
    assert given > 4_000_000 > fetched > 1_000_000
    assert f"{size(given)} given to clients, {size(fetched)} fetched from the other registry" in picture.alt
    assert f"{size(given - fetched)} saved (75 %)" in picture.alt
    assert lab.saved(mirror, "a class").title == "a class"


def test_a_first_pull_saves_nothing(tmp_path, mirror, check_picture):
    pull(Store(tmp_path / "student"), f"{mirror.address}/library/shop")
    picture = lab.saved(mirror)
    check_picture(picture)
    assert picture.alt.endswith(" saved (0 %).")


def test_where_there_is_nothing_to_draw(registry, mirror):
    with pytest.raises(ValueError, match="nothing was pulled"):
        lab.saved(mirror)
    with pytest.raises(ValueError, match="is no mirror"):
        lab.saved(registry)
