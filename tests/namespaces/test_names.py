"""Names are checked before the kernel is asked."""

import pytest

from kit.linux.clone import NAMESPACES
from kit.namespaces.names import host_name, known, words


def test_names_come_as_words_or_as_a_list():
    assert known("uts pid") == known(["uts", "pid"]) == known("uts,pid") == ("uts", "pid")
    assert known("all") == tuple(NAMESPACES)
    assert known(["pid", "pid"]) == ("pid",)
    assert known(()) == ()


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ("pdi", "pid"),
        ("mnt", "mount"),
        ("net", "network"),
        ("usr", "user"),
        ("UTS", "uts"),
        ("cgroups", "cgroup"),
    ],
)
def test_a_mistyped_name_is_met_with_the_nearest(wrong, meant):
    with pytest.raises(ValueError, match=f"no namespace '{wrong}': did you mean '{meant}'"):
        known(wrong)


def test_a_name_like_no_other_gets_the_list():
    with pytest.raises(ValueError, match=r"no namespace 'x7': The eight are mount, uts, ipc"):
        known(["x7"])


def test_host_names_have_64_bytes_at_most():
    assert host_name("a" * 64) == "a" * 64
    for wrong in ("", "a" * 65, "é" * 33):
        with pytest.raises(ValueError, match="1 to 64 bytes"):
            host_name(wrong)


def test_a_command_is_split_without_a_shell():
    assert words("sh -c 'echo $HOME; ls'") == ["sh", "-c", "echo $HOME; ls"]
    assert words(["a b", "c"]) == ["a b", "c"]
