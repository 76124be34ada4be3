"""Whose groups are touched: ours alone. And nothing half-made, whatever goes wrong, whoever dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from kit import owner
from kit.cgroups import Cgroup, hierarchy, loads
from kit.cgroups.errors import Refused
from tests.cgroups.conftest import until

pytestmark = pytest.mark.needs("root")


@pytest.fixture
def foreign():
    """Groups of somebody else, one with a process inside, one with a name much like ours."""
    home = hierarchy.hierarchies()[0].home()
    made = [home / "kit-foreign", home / "kit-foreign" / "test", home / "somebody-else"]
    for path in made:
        path.mkdir()
    process = subprocess.Popen(loads.busy())
    (made[2] / "cgroup.procs").write_text(str(process.pid))
    yield made, process
    process.kill()
    process.wait()
    for path in reversed(made):
        until(lambda path=path: not (path / "cgroup.procs").read_text())
        path.rmdir()


def test_groups_of_others_stand_by_untouched(foreign):
    places, process = foreign
    with Cgroup("test") as group:
        group["pids.max"] = 5
        group.start(loads.busy())
        group.kill()
    owner.clean()
    assert all(path.is_dir() for path in places) and process.poll() is None


def test_a_group_that_cannot_be_made_leaves_nothing_half_made():
    top = hierarchy.hierarchies()[-1].home() / owner.prefix() / "demo"
    top.parent.mkdir()
    top.mkdir()  # in the way, in the last of the trees that would be used
    try:
        with pytest.raises(Refused, match="EEXIST"):
            Cgroup("demo")
        assert not [path for one in hierarchy.hierarchies() for path in [one.home() / owner.prefix() / "demo"]
                    if path.exists() and path != top]  # fmt: skip
    finally:
        top.rmdir()
        top.parent.rmdir()


def test_when_the_depth_is_used_up_the_kernel_says_so(group):
    group["cgroup.max.depth"] = 0
    with pytest.raises(Refused, match=r"cgroup\.max\.depth") as refused:
        group.child("below")
    assert refused.value.errno_name == "EAGAIN" and group.children == []
    assert not any((path / "below").exists() for path in group.directories)


def test_after_kill_9_of_the_owner_cleaning_removes_exactly_its_groups(group, foreign):
    program = (
        "from kit.cgroups import Cgroup, loads; import signal\n"
        "one = Cgroup('test'); below = one.child('below'); below.start(loads.busy())\n"
        "print(*below.directories, flush=True); signal.pause()\n"
    )
    other = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    theirs = other.stdout.readline().split()
    assert theirs and all(os.path.isdir(path) for path in theirs)
    other.send_signal(signal.SIGKILL)
    other.communicate()
    assert any(os.path.isdir(path) for path in theirs)
    assert {owned.path for owned in owner.leftovers()} >= set(theirs)
    owner.clean()
    assert not any(
        os.path.exists(path) or os.path.exists(os.path.dirname(os.path.dirname(path))) for path in theirs
    )
    assert group.alive and all(path.is_dir() for path in foreign[0]) and foreign[1].poll() is None
