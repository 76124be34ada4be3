"""Sizes as they are measured, and shared layers counted once."""

import os

import pytest

from kit import lab
from kit.images.image import Image, write_image
from kit.lab.images import SYSTEM, blocks
from kit.show import size
from tests.lab.test_explorer import file, image


@pytest.fixture
def family(tmp_path):
    """A base, two images on it with one layer in common, and an image of its own."""
    base, own = ("ADD base", file("base", 9000)), ("ADD c /", file("c", 1))
    middle = [(f"COPY {name} /", file(name, length)) for name, length in (("lib", 400), ("a", 70), ("b", 8))]
    whole = image(tmp_path, base, *middle, own)
    layers, lines = list(zip(whole.layers, whole.diff_ids, strict=True)), whole.history

    def of(*numbers):
        config = {"os": "linux", "architecture": "amd64", "history": [lines[number] for number in numbers]}
        return Image(whole.store, write_image(whole.store, [layers[number] for number in numbers], config))

    return {"base": of(0), "web": of(0, 1, 2), "worker": of(0, 1, 3), "other": of(4)}


def test_sizes_are_drawn_beside_what_is_in_use_on_the_disk(family, check_picture):
    picture = lab.sizes(family)
    check_picture(picture)
    assert f"base 9 kB, {size(family['base'].size)} packed, 1/" in picture.alt
    assert "web 9.47 kB" in picture.alt
    disk = os.statvfs("/")
    assert (disk.f_blocks - disk.f_bfree) * disk.f_frsize > 9000
    assert f"{SYSTEM} " in picture.alt
    assert picture.alt.endswith("in use on /.")


def test_images_of_any_size_can_be_drawn(tmp_path, check_picture):
    check_picture(
        lab.sizes(
            {"nothing": image(tmp_path / "nothing"), "x" * 80: image(tmp_path / "one", ("A", file("a", 1)))}
        )
    )


def test_a_shared_layer_is_one_block(family):
    found = list(blocks(family).values())
    assert [(one.letter, one.line, one.images) for one in found] == [
        ("A", "ADD base", ["base", "web", "worker"]),
        ("B", "COPY lib /", ["web", "worker"]),
        ("C", "COPY a /", ["web"]),
        ("D", "COPY b /", ["worker"]),
        ("E", "ADD c /", ["other"]),
    ]


def test_shared_layers_are_kept_once(family, check_picture):
    picture = lab.shared(family)
    check_picture(picture)
    base, web = family["base"].layers[0].size, family["web"].layers
    apart = sum(one.size for one in family.values())
    assert f"each by itself {size(apart)}" in picture.alt
    assert f"{size(2 * base + web[1].size)} saved" in picture.alt
    assert f"worker: A (shared) {size(base)}, B (shared) {size(web[1].size)}, D " in picture.alt


def test_images_that_share_nothing_or_have_many_layers(tmp_path, check_picture):
    many = image(tmp_path / "many", *[(f"RUN {n}", file(f"f{n}", n)) for n in range(60)])
    one = image(tmp_path / "one", ("ADD", file("one", 5)))
    assert ": 0 B saved" in lab.shared({"many": many, "one": one}).alt
    check_picture(lab.shared({"many": many, "again": many}))


def test_too_few_images_are_refused(family):
    with pytest.raises(ValueError, match="1 image; give two"):
        lab.shared({"base": family["base"]})
    with pytest.raises(ValueError, match="no images"):
        lab.sizes({})


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (742, "742 B"), (999, "999 B"), (1000, "1 kB"), (999_499, "999 kB"), (999_500, "1 MB"),
     (7_050_000, "7.05 MB"), (123_456_789, "123 MB"), (27_100_000_000, "27.1 GB"), (3 * 10**12, "3 TB")],
)  # fmt: skip
def test_bytes_as_people_read_them(count, text):
    assert size(count) == text
