"""Nothing outlives its owner; nothing of anyone else's is touched."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kit import owner
from kit.linux import proc
from kit.linux.errors import KernelError
from kit.linux.mount import mount, umount
from kit.linux.spawn import start

ROOT = Path(__file__).resolve().parents[1]
needs_root = pytest.mark.needs("root")


def cgroup_mount() -> str:
    return next(m.mount_point for m in proc.mountinfo() if m.fstype in ("cgroup", "cgroup2"))


MAKER = """
import os, sys
from kit import owner
from kit.linux.mount import mount
root = sys.argv[1]
group = os.path.join(root, owner.prefix(), "demo")
owner.journal().add(owner.Owned("cgroup", os.path.dirname(group)))
os.makedirs(group)
directory = owner.directory("work"); path = directory.__enter__()
(path / "file").write_text("x"); (path / "mnt").mkdir()
owner.journal().add(owner.Owned("mount", str(path / "mnt")))
mount("tmpfs", str(path / "mnt"), "tmpfs")
print(os.path.dirname(group), path, owner.journal().path, flush=True)
sys.stdin.read()
"""


def maker() -> tuple[subprocess.Popen[str], list[str]]:
    program = subprocess.Popen([sys.executable, "-c", MAKER, cgroup_mount()], cwd=ROOT, text=True,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # fmt: skip
    assert program.stdout
    return program, program.stdout.readline().split()


def kit(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kit", *words], cwd=ROOT, capture_output=True, text=True, timeout=60
    )


@needs_root
def test_a_killed_program_s_things_are_listed_then_removed():
    program, paths = maker()
    with program:
        listed = kit("clean", "--dry-run")
        assert all(path not in listed.stdout for path in paths)  # it lives: its things are its own
        kit("clean")
        assert all(os.path.exists(path) for path in paths)
        program.send_signal(signal.SIGKILL)
    assert all(os.path.exists(path) for path in paths)
    group, directory, _ = paths
    assert {(o.kind, o.path) for o in owner.leftovers()} >= {("cgroup", group), ("directory", directory),
                                                             ("mount", f"{directory}/mnt")}  # fmt: skip
    listed = kit("clean", "--dry-run")
    assert f"would remove cgroup {group}\n" in listed.stdout and os.path.exists(group)
    cleaned = kit("clean")
    assert f"removed directory {directory}\n" in cleaned.stdout
    assert not any(os.path.exists(path) for path in paths)
    assert kit("clean", "--dry-run").stdout == ""


@needs_root
def test_the_next_start_cleans_by_itself():
    program, paths = maker()
    with program:
        program.kill()
    subprocess.run([sys.executable, "-c", "from kit import owner; owner.prefix()"], cwd=ROOT, check=True)
    assert not any(os.path.exists(path) for path in paths)


@needs_root
def test_an_orderly_end_leaves_nothing():
    program, paths = maker()
    with program:
        program.stdin.close()
        assert program.wait(20) == 0
    assert not any(os.path.exists(path) for path in paths)


@needs_root
def test_what_the_kit_did_not_make_stands(tmp_path):
    """Foreign things that look like the kit's: a group, a mount, a directory, a link, a namespace."""
    group = os.path.join(cgroup_mount(), "kit-ffffff")
    place = tmp_path / "kit-ffffff"
    os.mkdir(group)
    place.mkdir()
    mount("tmpfs", str(place), "tmpfs")
    foreign = subprocess.Popen(
        ["unshare", "--net", "sh", "-c", "ip link add kit-ffffff type bridge; exec sleep 60"]
    )
    try:
        with start(["sleep", "60"], cgroups=[group]) as process:
            program, _ = maker()
            with program:
                program.kill()
            assert kit("clean").returncode == 0
            assert process.poll() is None and foreign.poll() is None
            assert os.path.isdir(group) and os.path.ismount(place)
            links = ["nsenter", "--net", "-t", str(foreign.pid), "ip", "-br", "link"]
            assert "kit-ffffff" in subprocess.check_output(links, text=True)
    finally:
        foreign.kill()
        foreign.wait()
        umount(str(place))
        os.rmdir(group)


def test_a_directory_is_removed_however_deep_and_closed(tmp_path):
    with owner.directory("deep") as path:
        os.mkdir(path / "closed", 0)
        here = os.open(path, os.O_RDONLY)
        for _ in range(3000):  # deeper than Python's own removal goes, and than a path can name
            os.mkdir("d", dir_fd=here)
            below = os.open("d", os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = below
        os.close(here)
    assert not path.exists()


def test_a_scratch_directory_lasts_as_long_as_its_program(tmp_path):
    code = "from kit import owner; path = owner.scratch('work'); (path / 'file').touch(); print(path)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "-work-" in ended.stdout and not os.path.exists(ended.stdout.strip())
    killed = subprocess.run(
        [sys.executable, "-c", f"{code}; import os; os.abort()"], capture_output=True, text=True
    )
    path = killed.stdout.strip() or next(o.path for o in owner.leftovers() if "-work-" in o.path)
    assert path in {o.path for o in owner.leftovers()}
    owner.clean()
    assert not os.path.exists(path)


@needs_root
def test_a_directory_is_never_emptied_through_a_mount(tmp_path):
    (tmp_path / "precious").write_text("keep me")
    with owner.directory("mounted") as path:
        (path / "inside").mkdir()
        mount(str(tmp_path), str(path / "inside"), None, 4096)  # MS_BIND
    assert not path.exists()
    assert (tmp_path / "precious").read_text() == "keep me"


def test_removed_at_the_end_of_the_block_whatever_happens():
    with pytest.raises(ZeroDivisionError), owner.directory("short") as path:
        assert path.name.startswith(owner.prefix())
        assert owner.Owned("directory", str(path)) in owner.journal().owned()
        raise ZeroDivisionError
    assert not path.exists()
    assert owner.Owned("directory", str(path)) not in owner.journal().owned()


def test_two_programs_have_different_prefixes():
    code = "from kit import owner; print(owner.prefix())"
    other = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert other.stdout.strip() != owner.prefix()


def test_a_journal_cut_short_by_death_is_read_up_to_there(tmp_path):
    journal = owner.state_directory() / "kit-000000.jsonl"
    gone = tmp_path / "gone"
    gone.mkdir()
    line = json.dumps(["+", "directory", str(gone)])
    journal.write_text(f"{line}\n{line[:-5]}")
    assert [o.path for o in owner.clean() if o.path == str(gone)] == [str(gone)]
    assert not gone.exists() and not journal.exists()


def test_what_another_version_made_is_left_to_it():
    journal = owner.state_directory() / "kit-000002.jsonl"
    journal.write_text(json.dumps(["+", "balloon", "kit-red"]) + "\n")
    try:
        with pytest.raises(KernelError, match=r"balloon kit-red.*ENOTSUP") as caught:
            owner.clean()
        assert "Another version" in str(caught.value)
        assert owner.Owned("balloon", "kit-red") in owner.leftovers()
    finally:
        journal.unlink()


@needs_root
def test_what_cannot_be_removed_stands_in_nobody_s_way(tmp_path):
    fixed, other = tmp_path / "fixed", tmp_path / "other"
    fixed.mkdir()
    other.mkdir()
    mount("none", str(fixed), "tmpfs", 0, "size=64k")
    (fixed / "directory").mkdir()
    mount("none", str(fixed), None, 33)  # MS_REMOUNT | MS_RDONLY
    journal = owner.state_directory() / "kit-000001.jsonl"
    lines = [["+", "directory", str(path)] for path in (other, fixed / "directory")]
    journal.write_text("".join(json.dumps(line) + "\n" for line in lines))
    try:
        code = "from kit import owner; print(owner.prefix())"
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)
        assert not other.exists() and (fixed / "directory").exists() and journal.exists()
        with pytest.raises(OSError, match="Read-only"):
            owner.clean()
    finally:
        umount(str(fixed))
        owner.clean()
    assert not journal.exists()


FULL = """
import os, sys
from pathlib import Path
from kit import owner
from kit.linux.errors import KernelError
from kit.linux.mount import mount
journal = owner.journal()
place = Path(sys.argv[1])
mount("none", str(place), "tmpfs", 0, "size=4k")
file = os.open(place / "journal", os.O_RDWR | os.O_CREAT | os.O_APPEND)
os.dup2(file, journal.fd)  # as if the disk of the journals were full
things = [owner.Owned("directory", f"{place}/{n}-{'x' * 100}") for n in range(100)]
noted = 0
try:
    for thing in things:
        journal.add(thing)
        noted += 1
except KernelError as error:
    print(error.errno_name)
for thing in things:  # lets go without a word, though there is no room to say so
    owner.release(thing)
print(noted > 10 and [json[:3] for json in (place / "journal").read_text().splitlines()] == ['["+'] * noted)
"""


@needs_root
def test_a_full_disk_is_told_and_leaves_a_readable_journal(tmp_path):
    command = ["unshare", "--mount", sys.executable, "-c", FULL, str(tmp_path)]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert told.stdout == "ENOSPC\nTrue\n", told.stderr


FORKED = """
import os, sys
from kit import owner
with owner.directory("parent") as path:
    if os.fork() == 0:
        sys.exit()  # unwinds the block
    os.wait()
    print(path.exists())
print(path.exists())
"""


def test_a_forked_copy_owns_nothing():
    done = subprocess.run(
        [sys.executable, "-c", FORKED], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "True\nFalse\n"
