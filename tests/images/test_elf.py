"""Which loader and libraries a program needs: what the files say, and what the loader really finds."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import pytest

from kit.images import elf
from kit.images.elf import Header, NotOnHost
from kit.linux.mount import MountFlags
from kit.linux.spawn import Mount, run

PROJECT = Path(__file__).parents[2]


@pytest.fixture
def linked(tmp_path):
    """A program that returns what its library tells, 7; they lie in bin and lib."""
    for name in ("bin", "lib"):
        (tmp_path / name).mkdir()
    (tmp_path / "seven.c").write_text("int getpid(void);\nint seven(void) { return getpid() ? 7 : 0; }\n")
    (tmp_path / "main.c").write_text("int seven(void);\nint main(void) { return seven(); }\n")
    library = tmp_path / "lib/libseven.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, tmp_path / "seven.c"], check=True)

    def link(*options):
        program = tmp_path / "bin/seven"
        words = ["gcc", "-o", program, tmp_path / "main.c", f"-L{library.parent}", "-lseven", *options]
        subprocess.run(words, check=True)
        return program, library

    return link


def test_a_program_names_its_loader_and_a_static_one_has_none():
    found = elf.header(Path(sys.executable))
    assert found is not None and found.dynamic
    assert found.interpreter is not None and Path(found.interpreter).is_file()


@pytest.mark.needs("busybox")
def test_a_static_program_needs_nothing():
    assert elf.header("/bin/busybox") == Header(None, False)
    assert elf.needs("/bin/busybox") == []


@pytest.mark.parametrize(
    "content",
    [b"", b"#!/bin/sh\n", b"\x7fELF", b"\x7fELF\x01" + bytes(60)],
    ids=["empty", "script", "short", "32 bits"],
)
def test_any_other_file_has_no_header(tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    assert elf.header(tmp_path / "file") is None
    assert elf.needs(tmp_path / "file") == []


def head(offset, size, count):
    """An ELF header that says where its program headers are, and how large and how many."""
    order = b"\x01" if sys.byteorder == "little" else b"\x02"
    fixed = b"\x7fELF\x02" + order + bytes(26)
    return fixed + struct.pack("=QQ", offset, 0) + bytes(6) + struct.pack("=HH", size, count) + bytes(6)


@pytest.mark.parametrize(
    "content",
    [
        head(64, 56, 1),  # the table would begin at the end
        head(1 << 63, 56, 1),  # further than a file can be long
        head(64, 0, 5),  # headers of no size
        head(64, 56, 1) + struct.pack("=IIQQQQQQ", 3, 4, 1 << 63, 0, 0, 10, 10, 1),  # a loader's name far out
    ],
    ids=["no table", "table far out", "no size", "name far out"],
)
def test_a_header_that_points_nowhere_is_an_error_that_names_the_file(tmp_path, content):
    (tmp_path / "broken").write_bytes(content)
    with pytest.raises(NotOnHost, match=r"points past its end.*broken"):
        elf.header(tmp_path / "broken")


def test_what_is_needed_is_what_a_running_program_has_mapped():
    code = "print(*{line.split()[5] for line in open('/proc/self/maps') if '/' in line and '.so' in line})"
    mapped = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    needed = {str(path.resolve()) for path in elf.needs(sys.executable)}
    assert {path for path in mapped if "lib-dynload" not in path} == needed


@pytest.mark.needs("gcc")
def test_a_library_beside_the_program_is_found_by_the_run_path(linked):
    program, library = linked("-Wl,-rpath,$ORIGIN/../lib")
    needs = elf.needs(program)
    assert library.resolve() in {path.resolve() for path in needs}
    assert elf.CACHE not in needs


@pytest.mark.needs("gcc")
def test_libraries_of_a_library_are_found_with_this_interpreters_loader(linked):
    _, library = linked()
    assert elf.header(library) == Header(None, True)
    assert "libc.so.6" in {path.name for path in elf.needs(library)}


@pytest.mark.needs("gcc")
def test_a_static_program_that_can_lie_anywhere_needs_nothing_either(tmp_path):
    (tmp_path / "main.c").write_text("int main(void) { return 0; }\n")
    subprocess.run(["gcc", "-static-pie", "-o", tmp_path / "main", tmp_path / "main.c"], check=True)
    assert elf.header(tmp_path / "main") == Header(None, True)
    assert elf.needs(tmp_path / "main") == []


@pytest.mark.needs("gcc")
def test_a_missing_library_is_named_even_where_the_environment_would_have_helped(linked, monkeypatch):
    program, library = linked()
    monkeypatch.setenv("LD_LIBRARY_PATH", str(library.parent))
    with pytest.raises(NotOnHost, match=r"libseven\.so.*LD_LIBRARY_PATH"):
        elf.needs(program)


@pytest.mark.needs("gcc")
def test_a_missing_loader_is_named(linked):
    program, _ = linked("-Wl,--dynamic-linker=/lib/ld-nowhere.so")
    with pytest.raises(NotOnHost, match=r"/lib/ld-nowhere\.so does not run: No such file"):
        elf.needs(program)


@pytest.mark.needs("root", "gcc", "ldconfig")
def test_a_library_that_only_the_cache_knows_brings_the_cache(linked, tmp_path):
    program, library = linked()
    (tmp_path / "ld.so.conf").write_text(f"{library.parent}\n")
    cache = tmp_path / "ld.so.cache"
    subprocess.run(["ldconfig", "-X", "-f", tmp_path / "ld.so.conf", "-C", cache], check=True)
    code = f"from kit.images import elf; print(elf.needs({str(program)!r}))"
    shown = run(
        [sys.executable, "-c", code],
        cwd=str(PROJECT),
        unshare=["mount"],
        mounts=[Mount(str(cache), "/etc/ld.so.cache", flags=MountFlags.BIND)],
    ).check()
    assert str(elf.CACHE) in shown.stdout and str(library) in shown.stdout
