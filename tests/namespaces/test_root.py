"""A root of its own, and what happens where there is no room for it."""

import errno
import os
import subprocess

import pytest

from kit import owner
from kit.linux.errors import KernelError
from kit.linux.mount import mount, umount
from kit.namespaces import Root, run
from kit.namespaces.root import DIRECTORIES, static_busybox

pytestmark = pytest.mark.needs("root")


def test_the_root_is_all_there_is_to_see():
    with Root() as root:
        said = run("ls /", "mount pid", root=root, proc=True)
        assert str(said).split() == sorted(DIRECTORIES)
        assert str(run("ps -o pid,comm", "mount pid", root=root, proc=True)).split()[2:] == ["1", "ps"]
        assert str(run("whoami", "mount", root=root)) == "root\n"


def test_nothing_of_the_old_root_can_be_reached():
    with Root() as root:
        assert "debian" not in str(run("sh -c 'cd ../../..; pwd; ls'", "mount", root=root))
        mounts = run("cat /proc/self/mounts", "mount pid", root=root, proc=True)
        assert [line.split()[1] for line in str(mounts).splitlines()] == ["/", "/proc"]
        environment = str(run("env", "mount", root=root))
        assert "PATH=/bin" in environment and os.environ["PATH"] not in environment


def test_what_is_written_inside_is_a_file_outside():
    with Root() as root:
        root.write("etc/deep/motd", "hello\n")
        said = run("sh -c 'cat /etc/deep/motd; echo bye > /tmp/note'", "mount", root=root)
        assert str(said) == "hello\n"
        assert (root.path / "tmp/note").read_text() == "bye\n"
        with pytest.raises(ValueError, match="leave the root"):
            root.write("../outside", "no")
    assert not root.path.exists()


def test_a_link_that_points_out_is_not_followed():
    with Root() as root:
        (root.path / "etc/link").symlink_to("/etc")
        with pytest.raises(ValueError, match="leave the root"):
            root.write("etc/link/kit-was-here", "no")
    assert not os.path.exists("/etc/kit-was-here")


def test_two_at_once():
    with Root() as one, Root() as two:
        assert one.path != two.path
        assert one.path.name.startswith(owner.prefix())


def test_root_in_a_user_namespace():
    ids = [(0, 65534, 1)]
    with Root() as root:
        assert str(run("id -u", "user mount", root=root, uid_map=ids, gid_map=ids)) == "0\n"


def test_no_space_leaves_nothing(tmp_path):
    mount("tmpfs", str(tmp_path), "tmpfs", 0, "size=512k")
    try:
        with pytest.raises(KernelError, match="make room") as caught:
            Root(under=tmp_path)
        assert caught.value.errno == errno.ENOSPC
        assert os.listdir(tmp_path) == []
        assert not [one for one in owner.journal().owned() if str(tmp_path) in one.path]
    finally:
        umount(str(tmp_path))


def test_a_place_that_does_not_exist():
    with pytest.raises(KernelError, match="ENOENT"):
        Root(under="/no/such/place")


def test_busybox_must_be_there_and_need_no_library(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(KernelError, match=r"find busybox: ENOENT.*busybox-static"):
        static_busybox()
    (tmp_path / "busybox").symlink_to("/bin/ls")  # a program with libraries
    with pytest.raises(KernelError, match=r"shared libraries.*busybox-static"):
        static_busybox()
    assert subprocess.run(["/bin/busybox", "true"]).returncode == 0
