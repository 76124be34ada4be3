"""What may be an entry of a layer, and what its content is."""

from __future__ import annotations

import pytest

from kit.images.entry import Entry


@pytest.mark.parametrize("name", ["/etc/passwd", "", ".", "..", "a/../b", "a//b", "a/", "a/./b", "a\0b"])
def test_names_that_leave_the_layer_or_have_two_spellings_are_refused(name):
    with pytest.raises(ValueError, match="names are relative"):
        Entry(name, "directory", 0o755)


@pytest.mark.parametrize("name", ["a", "a b", "a/.b", "..a", "a..", "ä/€", "a\nb", ".wh.a"])
def test_any_other_name_is_taken(name):
    assert Entry(name, "directory", 0o755).name == name


@pytest.mark.parametrize("mode", [-1, 0o10000, 0o100644])
def test_a_mode_is_permission_bits_only(mode):
    with pytest.raises(ValueError, match="permission bits"):
        Entry("a", "file", mode, data=b"")


def test_a_file_has_data_or_a_source_and_not_both(tmp_path):
    for wrong in ({}, {"data": b"", "source": tmp_path}):
        with pytest.raises(ValueError, match="either data or a source"):
            Entry("a", "file", 0o644, **wrong)
    with pytest.raises(ValueError, match="either data or a source"):
        Entry("a", "fifo", 0o644, data=b"")


def test_only_links_have_a_target_and_only_devices_have_numbers():
    for kind in ("symlink", "hardlink"):
        assert Entry("a", kind, 0o777, target="b").target == "b"
        with pytest.raises(ValueError, match="a link has a target"):
            Entry("a", kind, 0o777)
    for kind in ("char", "block"):
        assert Entry("a", kind, 0o666, device=(1, 3)).device == (1, 3)
        with pytest.raises(ValueError, match="a device has"):
            Entry("a", kind, 0o666)
    with pytest.raises(ValueError, match="a link has a target"):
        Entry("a", "fifo", 0o644, target="b")
    with pytest.raises(ValueError, match="a device has"):
        Entry("a", "directory", 0o755, device=(1, 3))


def test_content_comes_from_data_or_from_the_source(tmp_path):
    (tmp_path / "there").write_bytes(b"from the disk")
    with Entry("a", "file", 0o644, data=b"").open() as stream:
        assert stream.read() == b""
    with Entry("a", "file", 0o644, source=tmp_path / "there").open() as stream:
        assert stream.read() == b"from the disk"
