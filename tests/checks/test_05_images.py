"""Wrong answers, and unusual right ones, to the exercises of chapter 05."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kit import checks, images
from kit.images import Entry, Image
from kit.images.build import build

from .chapters import (
    any_answer_gets_a_sentence,
    exercises,
    hints_end_with_the_manual_and_then_the_solution,
    no,
    reset_gives_new_values_and_the_solution_still_fits,
)

pytestmark = [pytest.mark.needs("root"), pytest.mark.timeout(180)]
CHAPTER = "05_images"


@pytest.fixture
def ex(state: Path) -> Iterator[dict[str, Any]]:
    names = exercises(CHAPTER)
    yield names
    checks.close()
    names["store"].close()
    subprocess.run(["rm", "-r", names["work"]], check=True)


def made(ex: dict[str, Any], *entries: Entry, base: Image | None = None, **config: Any) -> Image:
    with ex["store"].writing():
        image = images.commit(ex["store"], base, entries or None, config or None, created_by="a test")
        ex["store"].tag(f"docker.io/library/try:{image.id[7:19]}", image.descriptor)
    return image


def built(ex: dict[str, Any], text: str) -> Image:
    directory = ex["work"] / "try"
    directory.mkdir(exist_ok=True)
    (directory / "Dockerfile").write_text(text)
    return build(ex["store"], directory, tags=["try"]).image


def test_an_answer_of_any_type_gets_a_sentence(ex: dict[str, Any]) -> None:
    any_answer_gets_a_sentence(ex)


def test_reset(ex: dict[str, Any]) -> None:
    lasting = (5,)  # a Dockerfile in the right order stays right
    reset_gives_new_values_and_the_solution_still_fits(CHAPTER, ex, lasting)


def test_hints(ex: dict[str, Any]) -> None:
    hints_end_with_the_manual_and_then_the_solution(ex)


def test_by_hand(ex: dict[str, Any]) -> None:
    one = ex["ex1"]
    given = one.given
    name, mode = given.path[1:], int(given.mode, 8)
    right = Entry(name, "file", mode, data=given.text.encode())
    no(one.check(made(ex, Entry(name, "file", mode, data=b"else"))), "the file says b'else'")
    no(one.check(made(ex, Entry(name, "file", 0o601, data=given.text.encode()))), "its mode is 601")
    no(one.check(made(ex, right)), "the configuration's user is ''")
    no(one.check(made(ex, right, Entry("more", "file", 0o600, data=b""), User=given.user)), "'more'")
    no(one.check(made(ex, right, base=made(ex, right), User=given.user)), "2 layers")
    (ex["work"] / "try").mkdir()
    (ex["work"] / "try" / name).write_text(given.text)
    assert one.check(built(ex, f"FROM scratch\nCOPY --chmod={given.mode} {name} /\nUSER {given.user}\n"))


def test_an_image_that_is_gone_is_no_answer(ex: dict[str, Any]) -> None:
    image = made(ex, Entry("file", "file", 0o644, data=b"x"))
    ex["store"].path(image.layers[0].digest).unlink()
    no(ex["ex1"].check(image), "can't be read")


def test_who_touched_what(ex: dict[str, Any]) -> None:
    two, given = ex["ex2"], ex["ex2"].given
    no(two.check(given._changed, given._deleted, given._added), "`deleted` is not")
    no(two.check(given._deleted, given._added, given._changed), "`changed` is not")
    assert two.check(f"/srv/{given._deleted}", given._changed, given._added)


def test_one_bit(ex: dict[str, Any]) -> None:
    three = ex["ex3"]
    sound = Image.find(three.store, f"disk-{(three.given._image + 1) % 6}")
    name = f"disk-{three.given._image}"
    no(three.check(sound.layers[0].digest, name), "is sound")
    no(three.check("sha256:" + 64 * "0", name), "no blob")
    no(three.check(three._digest, "disk-9"), "it is not the image")


def test_a_dockerfile(ex: dict[str, Any]) -> None:
    four, given = ex["ex4"], ex["ex4"].given
    start = f"FROM busybox\nENV {given.variable}={given.value}\nWORKDIR {given.directory}\n"
    no(four.check(built(ex, start)), "has the user '0'")
    no(four.check(built(ex, f"{start}USER {given.user}\nCMD true\n")), "it says ''")
    no(
        four.check(built(ex, f"FROM busybox\nUSER {given.user}\nCMD echo {given.value}\n")),
        "has the value ''",
    )
    shell = f'{start}USER {given.user}:{given.user}\nENTRYPOINT ["printenv"]\nCMD ["{given.variable}"]\n'
    assert not four.check(built(ex, shell.replace("printenv", "/no/such")))
    assert four.check(built(ex, f"{start}USER {given.user}\nENTRYPOINT echo ${given.variable}\n"))


def test_the_right_order(ex: dict[str, Any]) -> None:
    five = ex["ex5"]
    no(five.check(five.slow), "a `RUN` was done again")
    no(five.check("FROM busybox\nRUN"), "doesn't build")
    never = "FROM busybox\nWORKDIR /app\nRUN echo requirements.txt > installed\nCOPY app.txt ./\n"
    no(five.check(never), "no `RUN` was done again")
    no(five.check("FROM busybox\nCOPY app.txt /app/\n"), "no `/app/installed`")
    no(five.check("FROM busybox\nRUN echo old > /app.txt\n"), "`/app/app.txt`")
    stages = (
        "FROM busybox AS one\nWORKDIR /app\nCOPY requirements.txt .\n"
        "RUN sha256sum requirements.txt > installed\n"
        "FROM busybox\nCOPY --from=one /app /app\nCOPY app.txt /app/\n"
    )
    assert five.check(stages)


def test_diet(ex: dict[str, Any]) -> None:
    six, word = ex["ex6"], ex["ex6"].given.word
    fat = (
        f"FROM busybox\nRUN yes {word} | head -c 4000000 > /tmp/download\n"
        "RUN sha256sum < /tmp/download > /result\nRUN rm /tmp/download\n"
    )
    no(six.check(built(ex, fat)), "4,000,000 bytes")
    no(six.check(built(ex, "FROM busybox\nRUN echo no > /result\n")), "`/result` is")
    no(six.check(built(ex, "FROM busybox\nRUN true\n")), "not there")
    no(six.check(made(ex, Entry("result", "file", 0o644, data=b"x"))), "does not stand on busybox")
    assert six.check(built(ex, f"FROM busybox\nRUN yes {word} | head -c 4000000 | sha256sum > /result\n"))


def test_nothing_but_the_result(ex: dict[str, Any]) -> None:
    seven, file = ex["ex7"], ex["ex7"].given.file
    text = "FROM busybox\nCOPY tool.sh /\nRUN /tool.sh && cp /out/* /\n"
    (seven.context / "Dockerfile").write_text(text)
    no(seven.check(build(ex["store"], seven.context).image), "its layers also hold")
    no(seven.check(made(ex, Entry(file, "file", 0o644, data=b"guess"))), "says b'guess'")
    no(seven.check(made(ex, Entry("other", "file", 0o644, data=b""))), "there is no")


def test_in_the_bin(ex: dict[str, Any]) -> None:
    no(ex["ex8"].check("swordfish"), "is not 'swordfish'")
    names = subprocess.run(
        ["tar", "-tf", ex["ex8"].archive], capture_output=True, text=True, check=True
    ).stdout
    assert "manifest.json" in names and "index.json" in names
