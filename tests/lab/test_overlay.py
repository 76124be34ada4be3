"""The overlay picture says what the kernel's own merged tree says, and where each file comes from."""

import os

import pytest

from kit import lab
from kit.images.rootfs import mount
from kit.lab.levels import files, look, real, seen, telling
from tests.lab.test_explorer import directory, file, image

BASE = [directory("etc"), file("etc/passwd", 20), file("etc/group", 5), file("etc/hosts", 7), file("old", 1)]
BELOW = [directory("d"), file("d/a", 1), file("d/b", 1)]
ABOVE = [
    file("etc/passwd", 30),
    file("etc/.wh.group"),
    directory("d"),
    file("d/.wh..wh..opq"),
    file("d/c", 1),
]
LAYERS = (("ADD base", *BASE, *BELOW), ("RUN change", *ABOVE))


@pytest.fixture
def mounted(tmp_path):
    shop = image(tmp_path, *LAYERS)
    with mount(shop.store, shop) as rootfs:
        (rootfs.path / "etc" / "passwd").write_text("root:x:0:0\n")
        (rootfs.path / "etc" / "hosts").unlink()
        (rootfs.path / "etc" / "motd").write_text("welcome\n")
        os.symlink("motd", rootfs.path / "etc" / "issue")
        yield rootfs


@pytest.mark.needs("root")
def test_what_is_seen_is_what_the_kernel_shows(mounted):
    directories = [mounted.upper, *mounted.lower_dirs]
    paths = {path for one in directories for path in files(one)} | {
        "d",
        "etc",
        "etc/issue",
        "nothing",
        "d/a/b",
    }
    assert len(paths) > 10
    for path in paths:
        cells = [look(one, path) for one in directories]
        shown = seen(cells)
        merged = mounted.path / path
        assert os.path.lexists(merged) == bool(shown), path
        if shown and cells[shown[0]].kind == "file":
            assert merged.read_bytes() == (directories[shown[0]] / path).read_bytes(), path
        if shown and cells[shown[0]].kind == "directory":
            names = {name for index in shown for name in os.listdir(directories[index] / path)}
            gone = {name for name in names if not seen([look(one, f"{path}/{name}") for one in directories])}
            assert set(os.listdir(merged)) == names - gone, path


@pytest.mark.needs("root")
def test_a_path_in_each_directory(mounted):
    upper, second, first = mounted.upper, *mounted.lower_dirs
    assert look(upper, "etc/passwd") == ("file", True, "11 B", "root:x:0:0")
    assert look(upper, "etc/hosts") == ("whiteout", True, "whiteout", "device 0:0")
    assert look(upper, "etc/hosts/below") == ("whiteout", True, "whiteout", "of its directory")
    assert look(upper, "etc/issue") == ("symlink", True, "symlink", "→ motd")
    assert look(second, "d") == ("directory", True, "opaque", "")
    assert look(second, "d/a") == ("", True, "", "")
    assert look(second, "etc") == ("directory", False, "directory", "")
    assert look(first, "old/now") == ("", True, "", ""), "a file stands where a directory would be"
    assert look(first, "etc/motd") == ("", False, "", "")


@pytest.mark.needs("root")
def test_the_picture_of_a_mounted_image(mounted, check_picture):
    picture = lab.overlay(mounted)
    check_picture(picture)
    for words in ("upper, layer 2, layer 1, the topmost first",
                  "etc/passwd: 11 B in upper, 30 B in layer 2, 20 B in layer 1; one sees that of upper.",
                  "etc/hosts: whiteout in upper, 7 B in layer 1; one sees nothing.",
                  "etc/motd: 8 B in upper; one sees that of upper.",
                  "old: 1 B in layer 1; one sees that of layer 1."):  # fmt: skip
        assert words in picture.alt


@pytest.mark.needs("root")
def test_chosen_paths(mounted, check_picture):
    picture = lab.overlay(mounted, ["/etc/group", "d/a", "nothing/at/all"], "chosen")
    check_picture(picture)
    assert picture.title == "chosen"
    assert "etc/group: whiteout in layer 2, 5 B in layer 1; one sees nothing." in picture.alt
    assert "nothing/at/all: nowhere; one sees nothing." in picture.alt


@pytest.mark.needs("root")
def test_an_empty_mount(tmp_path, check_picture):
    from kit.images.store import Store

    with mount(Store(tmp_path / "store"), None) as rootfs:
        check_picture(lab.overlay(rootfs))
        (rootfs.path / "hello").write_text("hello\n")
        assert "hello: 6 B in upper; one sees that of upper." in lab.overlay(rootfs).alt


def test_the_layers_of_an_image_that_is_not_mounted(tmp_path, check_picture):
    shop = image(tmp_path, LAYERS[0])
    picture = lab.overlay(shop)
    check_picture(picture)
    assert "layer 1" in picture.alt
    assert "upper" not in picture.alt


@pytest.mark.needs("root")
def test_telling_paths_are_of_each_kind(mounted):
    assert telling([mounted.upper, *mounted.lower_dirs], 5) == [
        "etc/passwd", "etc/hosts", "etc/group", "etc/motd", "old",
    ]  # fmt: skip


@pytest.mark.needs("root")
def test_links_on_the_way_are_followed_as_inside(mounted, tmp_path):
    for name, target in {
        "a": "etc",
        "d/b": "../../../../etc",
        "d/c": "/etc",
        "d/loop": "loop",
        "d/old": "../old",
    }.items():
        link = mounted.path / name
        link.unlink(missing_ok=True)
        link.symlink_to(target)
    directories = [mounted.upper, *mounted.lower_dirs]
    for path in ("a/passwd", "d/b/passwd", "d/c/passwd", "etc/passwd"):
        assert real(path, directories) == "etc/passwd"
    assert real("d/b", directories) == "d/b", "the last name is itself what is looked at"
    assert real("d/loop/x", directories) == "d/loop/x"
    assert real("nothing/at/all", directories) == "nothing/at/all"
    assert "etc/passwd: 11 B in upper" in lab.overlay(mounted, ["a/passwd"]).alt


@pytest.mark.parametrize("paths", [["a"] * 6, [""], ["a", "/"], ["../etc/passwd"]])
def test_bad_paths_are_refused(tmp_path, paths):
    with pytest.raises(ValueError, match="one to 5 paths"):
        lab.overlay(image(tmp_path, LAYERS[0]), paths)
