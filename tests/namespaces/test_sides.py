"""Side by side: the same question inside and outside."""

import socket

import pytest

from kit.linux.clone import NAMESPACES
from kit.linux.errors import KernelError
from kit.namespaces import Root, compare, inside_outside, start
from kit.namespaces.sides import number_inside

pytestmark = pytest.mark.needs("root")


def answers(table):
    return {row[0]: tuple(row[2:]) for row in table.rows}


@pytest.mark.parametrize("kind", NAMESPACES)
def test_each_kind_has_its_questions_and_they_can_be_answered(kind):
    with start("sleep 60", kind) as process:
        found = answers(inside_outside(process, kind))
    inside, outside = found.pop("the namespace itself")
    assert inside != outside
    assert found
    for pair in found.values():
        assert not any("No such file" in answer or "not found" in answer for answer in pair), pair


def test_uts():
    with start("sleep 60", "uts", hostname="red") as process:
        found = answers(inside_outside(process, "uts"))
    assert found["host name"] == ("red", socket.gethostname())
    assert found["kernel release"][0] == found["kernel release"][1]  # one kernel for all


def test_user():
    ids = [(0, 65534, 1)]
    with start("sleep 60", "user", uid_map=ids, gid_map=ids) as process:
        found = answers(inside_outside(process, "user"))
    inside, outside = found["the process's user"]
    assert inside.split()[1:] == ["0"] * 4
    assert outside.split()[1:] == ["65534"] * 4
    assert found["the owner of /"] == ("65534", "0")


def test_pid_with_the_old_proc_and_with_a_fresh_one():
    for fresh in (False, True):
        with start("sleep 60", "pid mount", proc=fresh) as process:
            inside, outside = answers(inside_outside(process, "pid"))["the process's numbers"]
            assert outside.split()[1:] == [str(process.pid), "1"]
            assert inside.split()[1:] == (["1"] if fresh else [str(process.pid), "1"])
            assert number_inside(process.pid) == (1 if fresh else process.pid)


def test_own_questions_in_a_root_of_its_own():
    with Root() as root, start("sleep 60", "mount", root=root) as process:
        table = compare(process, {"programs": "ls /bin/busybox /etc/debian_version"})
    assert table.rows[0][2].startswith("/bin/busybox")
    assert "No such file" in table.rows[0][2]  # what is outside is not there


def test_bad_input():
    with start("sleep 60") as process, pytest.raises(ValueError, match="did you mean 'pid'"):
        inside_outside(process, "pdi")
    with pytest.raises(KernelError, match="ESRCH"):
        inside_outside(process, "pid")


def test_what_is_shown_is_fixed_but_for_what_is_measured():
    with start("sleep 60", "uts", hostname="red") as process:
        bundle = inside_outside(process, "uts")._repr_mimebundle_()
    assert bundle["text/plain"] == "the uts namespace from inside and from outside"
    before, _, rest = bundle["text/html"].partition("<!--m-->")
    assert "red" not in before and "red" in rest.partition("<!--/m-->")[0]
