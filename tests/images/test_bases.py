"""Base images: each is packed, unpacked, made the root of a new mount namespace, and really run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from kit.images import bases, hello
from kit.images.elf import NotOnHost
from kit.images.layer import pack
from kit.images.unpack import unpack
from kit.linux.spawn import run

PROJECT = Path(__file__).parents[2]
ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"}
needs_root = pytest.mark.needs("root")


def lay_out(entries, root):
    """The entries packed as a layer, and that unpacked over what is there."""
    with tempfile.TemporaryFile() as blob:
        layer = pack(entries, blob, None)
        blob.seek(0)
        unpack(blob, root, diff_id=layer.diff_id)
    return root


def inside(root, *argv):
    return run(argv, unshare=["mount", "pid"], root=str(root), cwd="/", env=ENVIRONMENT)


def by_name(entries):
    return {entry.name: entry for entry in entries}


@needs_root
def test_hello_world_greets_and_ends(tmp_path):
    result = inside(lay_out(bases.hello_world(), tmp_path), "/hello").check()
    assert result.stdout.encode() == hello.TEXT and result.stderr == ""


@pytest.mark.needs("qemu-aarch64")
def test_hello_world_for_the_other_architecture_runs_on_its_emulator(tmp_path):
    program = lay_out(bases.hello_world("arm64"), tmp_path) / "hello"
    assert subprocess.run(["qemu-aarch64", program], capture_output=True, check=True).stdout == hello.TEXT


def test_hello_world_is_one_file_of_a_few_hundred_bytes():
    for architecture in ("amd64", "arm64"):
        (entry,) = bases.hello_world(architecture)
        assert entry.data is not None and len(entry.data) < 500
    with pytest.raises(ValueError, match="written for amd64 and arm64, not for s390x"):
        bases.hello_world("s390x")


@needs_root
@pytest.mark.needs("busybox")
def test_busybox_runs_its_shell_and_every_applet_has_its_link(tmp_path):
    root = lay_out(bases.busybox(), tmp_path)
    assert inside(root, "/bin/sh", "-c", "echo a b | wc -w; id -un; cat /etc/group").check().stdout == (
        "2\nroot\nroot:x:0:\nnogroup:x:65534:\n"
    )
    missing = inside(
        root, "sh", "-c", "for one in $(busybox --list); do which $one >/dev/null || echo $one; done"
    )
    assert missing.check().stdout == ""


@needs_root
def test_python_runs_with_its_whole_standard_library_and_nothing_else(tmp_path):
    root = lay_out(bases.python(), tmp_path)
    code = """if True:
        import asyncio, bz2, ctypes, http.server, json, lzma, ssl, sysconfig, uuid, zlib
        import importlib.util, sqlite3, sys
        print(sys.version)
        print([name for name in ("pip", "pytest", "kit", "test") if importlib.util.find_spec(name)])
        print(sqlite3.connect(":memory:").execute("select 6 * 7").fetchone()[0])
    """
    for name in ("python3", "python"):
        result = inside(root, name, "-c", code).check()
        assert result.stdout.splitlines() == [*sys.version.splitlines(), "[]", "42"]


@needs_root
def test_python_finds_nothing_to_compile_anew(tmp_path):
    root = lay_out(bases.python(), tmp_path)
    before = set(root.rglob("*.pyc"))
    if not before:
        pytest.skip("this machine's Python comes without compiled files")
    inside(root, "python3", "-c", "import http.server, asyncio, sqlite3").check()
    assert set(root.rglob("*.pyc")) == before


@needs_root
@pytest.mark.needs("busybox")
def test_python_over_busybox_has_a_shell(tmp_path):
    root = lay_out(bases.python(), lay_out(bases.busybox(), tmp_path))
    script = "python3 -c 'import os; os.system(\"echo from a shell in python in a shell\")' | tr a-z A-Z"
    assert inside(root, "/bin/sh", "-c", script).check().stdout == "FROM A SHELL IN PYTHON IN A SHELL\n"


@needs_root
def test_programs_of_this_machine_run_from_nothing_else(tmp_path):
    root = lay_out(bases.from_host(["ls", "/bin/cat"]), tmp_path)
    assert inside(root, "ls", "/").check().stdout.split() == sorted(path.name for path in tmp_path.iterdir())
    assert inside(root, "/bin/cat", "/etc/nsswitch.conf").check().stdout == "\n".join(
        ("passwd: files", "group: files", "hosts: files dns", "")
    )


@needs_root
def test_a_directory_comes_with_all_it_holds_and_its_programs_with_their_libraries(tmp_path):
    given, root = tmp_path / "given", tmp_path / "root"
    (given / "bin").mkdir(parents=True)
    root.mkdir()
    shutil.copy("/bin/cat", given / "bin/feline")
    (given / "text").write_text("held\n")
    (given / "link").symlink_to("text")
    (given / "dangling").symlink_to("nowhere")
    os.mkfifo(given / "fifo")
    entries = bases.from_host([given])
    assert not [entry for entry in entries if entry.name.endswith(("dangling", "fifo"))]
    lay_out(entries, root)
    assert inside(root, str(given / "bin/feline"), str(given / "link")).check().stdout == "held\n"


def test_links_on_the_way_stay_links(tmp_path):
    (tmp_path / "real/deep").mkdir(parents=True)
    (tmp_path / "real/deep/file").write_text("x")
    (tmp_path / "absolute").symlink_to(tmp_path / "real")
    (tmp_path / "real/up").symlink_to("../absolute/deep")
    entries = by_name(bases.from_host([tmp_path / "real/up/file"]))
    top = str(tmp_path)[1:]
    kinds = {name: entries[f"{top}/{name}"].kind for name in ("absolute", "real/up", "real/deep/file")}
    assert kinds == {"absolute": "symlink", "real/up": "symlink", "real/deep/file": "file"}
    assert f"{top}/real/up/file" not in entries and f"{top}/absolute/deep" not in entries


def test_links_in_a_circle_are_refused(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(NotOnHost, match="40 symbolic links lead to it, or in a circle"):
        bases.from_host([tmp_path / "a"])


def test_what_is_not_there_is_refused(tmp_path):
    with pytest.raises(NotOnHost, match=r"No such file.*nosuchprogram"):
        bases.from_host(["nosuchprogram"])
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(NotOnHost, match=r"is no file or directory.*fifo"):
        bases.from_host([tmp_path / "fifo"])


def test_a_script_is_refused_with_its_interpreter_named(tmp_path):
    (tmp_path / "script").write_text("#!/usr/bin/perl -w\n")
    with pytest.raises(NotOnHost, match=r"script for /usr/bin/perl -w.*Name /usr/bin/perl and the programs"):
        bases.from_host([tmp_path / "script"])


def test_set_user_id_bits_and_owners_stay_at_home(tmp_path):
    shutil.copy("/bin/cat", tmp_path / "mine")
    (tmp_path / "mine").chmod(0o6751)
    entry = by_name(bases.from_host([tmp_path / "mine"]))[str(tmp_path / "mine")[1:]]
    assert (entry.mode, entry.uid, entry.gid) == (0o751, 0, 0)


def test_without_a_static_busybox_the_remedy_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NotOnHost, match=r"no busybox.*busybox-static"):
        bases.busybox()
    shutil.copy("/bin/cat", tmp_path / "busybox")
    with pytest.raises(NotOnHost, match=r"no static program.*busybox-static"):
        bases.busybox()


@pytest.mark.needs("busybox")
@pytest.mark.parametrize(
    "base", ["hello_world()", "busybox()", "python()", "from_host(['ls', '/etc/ld.so.conf.d'])"]
)
def test_the_same_files_give_the_same_layer_whoever_packs_them(base, tmp_path):
    code = f"""if True:
        from kit.images import bases
        from kit.images.layer import pack
        class Nowhere:
            def write(self, data): pass
        print(pack(bases.{base}, Nowhere(), None).diff_id)
    """
    said = set()
    other = {"LC_ALL": "C", "TZ": "Asia/Tokyo", "PYTHONHASHSEED": "7"}
    for environment, umask in (({}, 0o022), (other, 0o077)):
        words = [sys.executable, "-c", code]
        variables = {**os.environ, "PYTHONPATH": str(PROJECT), **environment}
        said.add(
            subprocess.run(words, env=variables, umask=umask, cwd=tmp_path, stdout=subprocess.PIPE).stdout
        )
    assert len(said) == 1 and said.pop().startswith(b"sha256:")


@pytest.mark.needs("busybox")
@pytest.mark.parametrize("base", ["hello_world", "busybox", "python"])
def test_every_name_is_there_once_and_after_its_directory(base):
    names = [entry.name for entry in getattr(bases, base)()]
    before = {""}
    for name in names:
        assert name not in before and name.rpartition("/")[0] in before
        before.add(name)


def test_a_single_name_is_no_list():
    with pytest.raises(ValueError, match="takes a list"):
        bases.from_host("ls")
