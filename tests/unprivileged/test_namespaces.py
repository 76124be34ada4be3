"""Without root, a user namespace in front opens all of chapter 03 but the networks between hosts."""

import os

import pytest

from kit.linux.errors import KernelError
from kit.namespaces import Host, Mount, Root, compare, inside, inside_outside, members, of, run, start, tree


@pytest.fixture(autouse=True)
def user_namespaces() -> None:
    try:
        run("true", "user")
    except KernelError as error:
        pytest.skip(f"this machine gives ordinary users no user namespaces: {error}")


def test_a_container_with_a_root_of_its_own() -> None:
    kinds = "user mount pid uts ipc network time"
    with (
        Root() as root,
        start("sleep 60", kinds, proc=True, root=root, hostname="mine", loopback=True) as box,
    ):
        assert str(inside(box).run("sh -c 'id -u; hostname; cat /proc/1/comm'")).split() == [
            "0",
            "mine",
            "sleep",
        ]
        assert set(of(box).own) == set(kinds.split())
        assert [one.inside for one in members(box)] == [1]


def test_both_sides() -> None:
    with start("sleep 60", "user uts", hostname="mine") as process:
        assert "mine" in str(inside_outside(process, "uts"))
        rows = {row[0]: row[2:] for row in inside_outside(process, "user").rows}
        assert rows["the process's user"][0].split()[1] == "0"
        assert rows["the process's user"][1].split()[1] == str(os.getuid())
    with start("sleep 60", "user mount", mounts=[Mount("tmpfs", "/mnt", "tmpfs")]) as process:
        assert compare(process, {"": "touch /mnt/here; ls /mnt"}).rows[0][2] == "here"


def test_what_belongs_to_others_is_counted_not_shown() -> None:
    assert tree().unreadable > 0


def test_the_remedy_in_the_error_is_what_helps() -> None:
    with pytest.raises(KernelError, match=r"EPERM.*add 'user'"):
        run("hostname", "uts", hostname="x")
    assert run("hostname", "uts user", hostname="mine").check().stdout == "mine\n"


def test_refusals_name_the_remedy() -> None:
    with pytest.raises(KernelError, match=r"EPERM.*add 'user'"):
        start("true", "uts")
    with pytest.raises(KernelError, match=r"EPERM.*need root"):
        Host("red")
    with pytest.raises(KernelError, match=r"EACCES.*only its owner and root"):
        inside(1).run("true")
    with pytest.raises(KernelError, match=r"EPERM.*only your own ids"):
        start("true", "user", uid_map=[(0, 0, 1)])
