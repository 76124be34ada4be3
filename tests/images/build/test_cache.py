"""Which steps are found in the cache: what counts is what a step depends on, and nothing else."""

from __future__ import annotations

import os

import pytest

from kit.images import prune
from kit.images.build.cache import Cache, Outcome, key
from kit.images.descriptor import OCI_LAYER, Descriptor

pytestmark = pytest.mark.needs("root", "busybox")
UUID = "cat /proc/sys/kernel/random/uuid"  # never the same
FILE = f'FROM busybox\nWORKDIR /app\nCOPY . .\nRUN cat a* > all; {UUID} >> all\nENV X=1\nCMD ["sh"]\n'


def cached(built) -> list[bool]:
    return [step.cached for step in built.steps]


@pytest.fixture
def a(context):
    (context / ".dockerignore").write_text("Dockerfile\n*.log\n")
    file = context / "a"
    file.write_text("one")
    return file


def test_an_outcome_is_kept_as_long_as_its_layer(store):
    cache, one = Cache(store), key(parent="parent", instruction="RUN x")
    assert cache.find(one) is None
    cache.put(one, Outcome("2026-01-01T00:00:00Z"))
    assert cache.find(one) == Outcome("2026-01-01T00:00:00Z")
    layer = store.put(b"", OCI_LAYER)
    other = key(parent="parent", instruction="RUN y")
    cache.put(other, Outcome("2026-01-01T00:00:00Z", (layer, layer.digest)))
    assert cache.find(other) == Outcome("2026-01-01T00:00:00Z", (layer, layer.digest))
    store.path(layer.digest).unlink()
    assert cache.find(other) is None
    assert cache.find(one) is not None


@pytest.mark.parametrize(
    "left", [b"", b"{", b"[]", b'{"layer": {}}', b'{"layer": null}', b'{"created":1,"layer":3}']
)
def test_a_damaged_entry_is_none(store, left):
    cache, one = Cache(store), key(parent="parent")
    cache.put(one, Outcome("2026-01-01T00:00:00Z"))
    next(cache.directory.iterdir()).write_bytes(left)
    assert cache.find(one) is None


def test_all_from_the_cache_gives_the_very_same_image(build, a):
    first = build(FILE)
    assert cached(first) == [True, False, False, False, False, False]
    second = build(FILE)
    assert all(cached(second))
    assert second.image.descriptor == first.image.descriptor


def test_a_files_time_does_not_count_and_its_content_does(build, a):
    first = build(FILE)
    os.utime(a, (1, 1))
    assert build(FILE).image.descriptor == first.image.descriptor
    a.write_text("two")
    assert cached(build(FILE)) == [True, True, False, False, False, False]
    a.write_text("one")
    assert build(FILE).image.descriptor == first.image.descriptor  # it is remembered as well


@pytest.mark.parametrize("change", ["mode", "name", "another"])
def test_what_else_of_files_counts(build, a, change):
    build(FILE)
    if change == "mode":
        a.chmod(0o600)
    elif change == "name":
        a.rename(a.with_name("ab"))
    else:
        a.with_name("b").write_text("")
    assert cached(build(FILE)) == [True, True, False, False, False, False]


def test_what_is_excluded_does_not_count(build, a):
    build(FILE)
    (a.with_name("x.log")).write_text("noise")
    assert all(cached(build(FILE)))


def test_a_changed_step_and_all_that_follow_are_done_anew(build, a):
    build(FILE)
    assert cached(build(FILE.replace("X=1", "X=2"))) == [True, True, True, True, False, False]
    assert cached(build(FILE.replace("WORKDIR /app", "WORKDIR /other"))) == [True] + [False] * 5


def test_steps_on_the_same_files_and_settings_are_found_whatever_made_these(build):
    build("FROM busybox\nRUN touch -d @1 /x\nRUN true > /y\n")
    built = build("FROM busybox\nRUN touch -d @1 /x  # again\nRUN true > /y\n")
    assert cached(built) == [True, False, True]


def test_no_cache(build, a):
    first = build(FILE)
    second = build(FILE, no_cache=True)
    assert not any(cached(second)[1:])
    assert second.image.diff_ids != first.image.diff_ids
    assert build(FILE).image.descriptor == second.image.descriptor  # and this is what is remembered


def test_the_value_of_an_argument_counts_where_it_is_in_scope(build):
    text = "FROM busybox\nRUN echo before\nARG A=1\nRUN echo $A\nENV B=1\n"
    build(text)
    assert cached(build(text, build_args={"A": "2"})) == [True, True, True, False, True]
    assert all(cached(build(text, build_args={"A": "2"})))
    assert all(cached(build(text, build_args={"http_proxy": "nobody"})))


def test_the_network_counts(build):
    text = "FROM busybox\nRUN true\n"
    build(text)
    assert cached(build(text, network="host")) == [True, False]
    assert cached(build(text.replace("RUN", "RUN --network=none"), network="host")) == [True, True]


def test_the_same_run_twice_is_done_twice(build):
    text = "FROM busybox\nRUN true\nRUN true\n"
    assert cached(build(text)) == [True, False, False]
    assert cached(build(text)) == [True, True, True]


def test_what_another_stage_makes_counts_by_its_content(build):
    text = f"FROM busybox AS one\nRUN touch -d @1 /kept; {UUID} > /other\n"
    text += "FROM busybox\nCOPY --from=one /kept /\n"
    build(text)
    assert all(cached(build(text)))
    assert cached(build(text.replace("/other", "/another"))) == [True, False, True, True]
    assert cached(build(text.replace("touch", "echo x > /kept; touch"))) == [True, False, True, False]


def test_pruning_takes_away_what_the_cache_points_to(build, store, a):
    build(FILE)
    built = build(FILE, tags=["kept"])
    prune(store)
    assert all(cached(build(FILE)))
    store.untag("docker.io/library/kept:latest")
    prune(store)
    assert cached(build(FILE))[:3] == [True, False, False]
    assert isinstance(built.image.descriptor, Descriptor)


def test_a_cached_build_unpacks_nothing(build, store, a):
    build(FILE, tags=["kept"])
    for directory in list((store.directory / "snapshots").iterdir()):
        directory.rename(store.directory / "mounts" / directory.name)
    assert all(cached(build(FILE)))
    assert list((store.directory / "snapshots").iterdir()) == []
