"""Without root, each refusal is a sentence: what was tried, the kernel's answer by name, what to do."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from kit import cgroups, namespaces
from kit.linux import mount, spawn
from kit.linux.errors import KernelError

SENTENCE = re.compile(r"(?P<what>.+): (?P<errno>E[A-Z]+) \((?P<text>.+?)\)\. (?P<remedy>.{20,})", re.DOTALL)


def refused(action: Callable[[], object], *errnos: str) -> str:
    """What the kernel's refusal says, once it has been checked to be a whole sentence with a remedy."""
    with pytest.raises(KernelError) as caught:
        action()
    assert caught.value.errno_name in errnos
    found = SENTENCE.fullmatch(str(caught.value))
    assert found, f"no sentence with a remedy: {caught.value}"
    return found["remedy"]


@pytest.mark.parametrize("kind", ["mount", "uts", "ipc", "pid", "network", "cgroup", "time"])
def test_a_new_namespace_needs_root_or_a_user_namespace(kind: str) -> None:
    remedy = refused(lambda: namespaces.run("true", new=kind), "EPERM")
    assert "user" in remedy


def test_going_inside_another_users_process() -> None:
    refused(lambda: namespaces.inside(1).run("hostname"), "EPERM", "EACCES")


def test_mounting() -> None:
    refused(lambda: mount.mount("none", "/mnt", "tmpfs"), "EPERM")


def test_mapping_ids_that_are_not_ones_own() -> None:
    refused(lambda: spawn.run(["true"], unshare=["user"], uid_map=[(0, 0, 1)]), "EPERM", "ENOSPC")


def test_a_control_group_is_refused_and_nothing_is_half_made() -> None:
    roots = [Path("/sys/fs/cgroup"), *Path("/sys/fs/cgroup").glob("*/")]
    name = f"refused-{os.getpid()}"
    refused(lambda: cgroups.Cgroup(name).__enter__(), "EACCES", "EPERM", "EROFS", "ENOENT")
    assert [path for root in roots for path in root.glob(f"kit-*/{name}")] == []


def test_the_machines_namespaces_can_still_be_looked_at() -> None:
    assert namespaces.of(os.getpid())
    assert "pid" in str(namespaces.tree()).lower()
