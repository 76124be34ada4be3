"""Wrong answers, and unusual right ones, to the exercises of chapter 07."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kit import checks, images
from kit.checks.registry import digest_at
from kit.images import Entry
from kit.images.descriptor import OCI_MANIFEST, digest_of
from kit.registries import Client, pull, push, serve
from kit.registries.credentials import Credentials

from .chapters import (
    any_answer_gets_a_sentence,
    exercises,
    hints_end_with_the_manual_and_then_the_solution,
    no,
    reset_gives_new_values_and_the_solution_still_fits,
)

pytestmark = [pytest.mark.needs("root"), pytest.mark.timeout(180)]
CHAPTER = "07_registries"


@pytest.fixture
def ex(state: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    monkeypatch.setenv("DOCKER_CONFIG", "")  # what the exercises set goes with the test
    names = exercises(CHAPTER)
    yield names
    checks.close()
    names["store"].close()
    subprocess.run(["rm", "-r", names["work"]], check=True)


def pushed(ex: dict[str, Any], name: str, *entries: Entry, base: str = "busybox") -> str:
    """Push an image with these entries on top; its digest."""
    store = ex["store"]
    with store.writing():
        image = images.commit(store, images.Image.find(store, base), entries, created_by="a test")
        store.tag(name, image.descriptor)
    return push(store, name).digest


def put_again(client: Client, repository: str, old: str, new: str) -> str:
    """The manifest of one reference under another one too; its digest."""
    found = client.get(f"/v2/{repository}/manifests/{old}", {"Accept": OCI_MANIFEST})
    client.put(f"/v2/{repository}/manifests/{new}", found.body, {"Content-Type": OCI_MANIFEST})
    return digest_of(found.body)


def test_an_answer_of_any_type_gets_a_sentence(ex: dict[str, Any]) -> None:
    any_answer_gets_a_sentence(ex)


def test_reset(ex: dict[str, Any]) -> None:
    reset_gives_new_values_and_the_solution_still_fits(CHAPTER, ex, lasting=())


def test_hints(ex: dict[str, Any]) -> None:
    hints_end_with_the_manual_and_then_the_solution(ex)


def test_read_before_you_pull(ex: dict[str, Any]) -> None:
    one = ex["ex1"]
    author = one.given._author
    no(one.check("swordfish"), "not 'swordfish'")
    with Client(one.registry.address) as client:
        client.head(f"/v2/{one.given.repository}/blobs/{one._layer.digest}")  # looks, and fetches nothing
    assert one.check(author)
    pull(ex["store"], f"{one.registry.address}/{one.given.repository}:{one.given.tag}")
    no(one.check(author), "the layer has been fetched")


def test_on_the_shelf(ex: dict[str, Any]) -> None:
    two, given = ex["ex2"], ex["ex2"].given
    name = f"{two.registry.address}/{given.repository}:{given.tag}"
    message = Entry("message.txt", "file", 0o644, data=given.message.encode())
    no(two.check("sha256:" + "0" * 64), f"no `{given.repository}:{given.tag}`")
    no(two.check(pushed(ex, f"{two.registry.address}/{given.repository}:other", message)), "has no")
    other = Entry("message.txt", "file", 0o644, data=b"else")
    no(two.check(pushed(ex, name, other)), "b'else'")
    no(two.check(pushed(ex, name, Entry("x", "file", 0o644, data=b""))), "not there")
    double = pushed(ex, name, message, base=name)
    no(two.check(double), "one layer on top")
    right = pushed(ex, name, message)
    no(two.check(double), "the tag stands for")
    assert two.check(right)


def test_pinned(ex: dict[str, Any]) -> None:
    three = ex["ex3"]
    address, repository, today = three.registry.address, three.given.repository, three._today.digest
    stable = f"{address}/{repository}:stable"
    no(three.check(stable), "leads to another image")
    no(three.check(f"{repository}@{today}"), "leads to docker.io")
    no(three.check(f"{address}/{repository}@sha256:12"), "no image's name")
    no(three.check(f"{address}/{repository}@sha256:{'0' * 64}"), "can't be pulled")
    with Client(address) as client:  # a tag of one's own can move as well
        put_again(client, repository, "stable", "mine")
    no(three.check(f"{address}/{repository}:mine"), "leads to another image")
    with images.scratch_store() as store:
        assert pull(store, stable).descriptor.digest == today  # it is back at its place
    assert three.check(f"{stable}@{today}")


def test_the_other_half(ex: dict[str, Any]) -> None:
    four = ex["ex4"]
    digest, half = digest_of(four.data), four.given._half
    no(four.check("sha256:" + "0" * 64), "not the digest")
    no(four.check(digest), "no such blob")
    with Client(four.registry.address) as client:
        again = client.patch(four.location, four.data, {"Content-Range": f"0-{len(four.data) - 1}"})
        assert again.status == 416  # it was refused, so it doesn't count
        assert client.put(f"{four.location}?digest={digest}", four.data[half:]).status == 201
    assert four.check(digest)


def test_the_other_half_with_the_first_one_once_more(ex: dict[str, Any]) -> None:
    four = ex["ex4"]
    digest = digest_of(four.data)
    with Client(four.registry.address) as client:
        path = f"/v2/{four.given.repository}/blobs/uploads/?digest={digest}"
        assert client.post(path, four.data).status == 201
    no(four.check(digest), f"{len(four.data):,} bytes have been sent")


def test_once_for_all(ex: dict[str, Any]) -> None:
    five, store = ex["ex5"], ex["store"]
    with serve(ex["work"] / "mirror", mirror_of=five.registry.url) as mirror:
        no(five.check(mirror), "haven't got the image")
        pull(five.students[0], "lesson", mirrors=[mirror.address])
        no(five.check(mirror), f"{len(five.students) - 1} of {len(five.students)} students")
        for student in five.students:
            pull(student, "lesson", mirrors=[mirror.address])
        assert five.check(mirror)
        pull(store, f"{five.registry.address}/library/lesson")
        no(five.check(mirror), "for another time")
        last = five.students[-1]
        with last.writing():
            entry = Entry("x", "file", 0o644, data=b"something else")
            other = images.commit(last, None, [entry], created_by="a test")
            last.tag("docker.io/library/lesson:latest", other.descriptor)
        no(five.check(mirror), "1 of")


def test_released(ex: dict[str, Any]) -> None:
    six, given = ex["ex6"], ex["ex6"].given
    address, right = six.registry.address, six._digest
    with Client(address, credentials=Credentials(given.user, "wrong")) as client:
        put_again(client, "team/app", "candidate", given.tag)
    no(six.check(right), f"no tag `{given.tag}`")
    with Client(address, credentials=Credentials(given.user, given.password)) as client:
        spaces = client.get("/v2/team/app/manifests/candidate", {"Accept": OCI_MANIFEST}).body + b"\n"
        client.put(f"/v2/team/app/manifests/{given.tag}", spaces, {"Content-Type": OCI_MANIFEST})
        no(six.check(digest_of(spaces)), "not what was tested")
        put_again(client, "team/app", "candidate", given.tag)
        no(six.check(digest_of(b"")), "and the image is")
        assert six.check(right)
        client.post("/v2/team/app/blobs/uploads/")
        no(six.check(right), "1 requests")


def test_make_room(ex: dict[str, Any]) -> None:
    seven, keep = ex["ex7"], ex["ex7"].given.keep
    no(seven.check(0), "that nobody needs")
    others = [tag for tag in seven.given._tags if tag != keep]
    digests = [digest_at(seven.registry, "team/app", tag) for tag in others]
    with Client(seven.registry.address) as client:
        for tag in others:
            client.delete(f"/v2/team/app/manifests/{tag}")
        assert seven.registry.collect(younger=0).size == 0  # only the labels are off
        for digest in digests:
            client.delete(f"/v2/team/app/manifests/{digest}")
        freed = seven.registry.collect().size  # the manifests; the layers are too young
        no(seven.check(freed), "that nobody needs")
        freed += seven.registry.collect(younger=0).size
        no(seven.check(freed - 1), f"the {freed:,} bytes")
        assert seven.check(freed)
        client.delete(f"/v2/team/app/manifests/{keep}")
    no(seven.check(freed), f"the tag `{keep}` is gone")


def test_which_seal(ex: dict[str, Any]) -> None:
    eight = ex["ex8"]
    kinds = eight.given._kinds
    good = [tag for tag, kind in kinds.items() if kind == "good"]
    no(eight.check(good[1:]), "1 more could be trusted")
    no(eight.check([*good, "nothing"]), "no tag 'nothing'")
    for kind, word in (("key", "another key"), ("other", "another image"), ("none", "no seal")):
        for tag in (one for one, its in kinds.items() if its == kind):
            no(eight.check([*good, tag]), word)
    assert eight.check(set(good))
