"""Base images with no network: each is a list of entries, made from what is on this machine.

See hier(7) for the directories, nsswitch.conf(5) and passwd(5) for the files. As long as the files here are
the same, so are the entries, and with them the layer and its digest.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import struct
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

from kit.images import elf, hello
from kit.images.descriptor import Platform
from kit.images.elf import NotOnHost
from kit.images.entry import Entry
from kit.images.host import HostFiles

_ETC = {
    "passwd": b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n",
    "group": b"root:x:0:\nnogroup:x:65534:\n",
    "nsswitch.conf": b"passwd: files\ngroup: files\nhosts: files dns\n",
}
_MERGED = ("bin", "sbin", "lib", "lib64")  # links into /usr, as distributions lay it out today
_NO_PYTHON = {"test", "tests", "idlelib", "tkinter", "turtledemo", "dist-packages", "site-packages"}


def _start() -> HostFiles:
    """The directories and files in /etc that most programs look for."""
    files = HostFiles()
    for name in ("dev", "etc", "proc", "sys"):
        files.put(Entry(name, "directory", 0o755))
    files.put(Entry("root", "directory", 0o700))
    files.put(Entry("tmp", "directory", 0o1777))
    for name, text in _ETC.items():
        files.put(Entry(f"etc/{name}", "file", 0o644, data=text))
    return files


def hello_world(architecture: str | None = None) -> list[Entry]:
    """One file, ``/hello``, that greets and ends: see :mod:`kit.images.hello`.

    ``architecture`` is "amd64" or "arm64", by default this machine's. Raises ValueError for others.
    """
    program = hello.program(architecture or Platform.here().architecture)
    return [Entry("hello", "file", 0o755, data=program)]


def busybox() -> list[Entry]:
    """This machine's static busybox, and a link for each program that it can be. See busybox(1).

    Raises :class:`NotOnHost` without one, or where it needs libraries.
    """
    remedy = "Install Debian's or Ubuntu's package busybox-static: apt-get install busybox-static"
    if (path := shutil.which("busybox")) is None:
        raise NotOnHost("there is no busybox on this machine", "PATH", remedy)
    if (found := elf.header(path)) is None or found.interpreter:
        raise NotOnHost("this busybox is no static program of its own", path, remedy)
    applets = subprocess.run([path, "--list-full"], capture_output=True, text=True, check=True).stdout.split()
    files = _start()
    files.put(Entry("usr", "directory", 0o755))
    for name in _MERGED:
        files.put(Entry(f"usr/{name}", "directory", 0o755))
        files.put(Entry(name, "symlink", 0o777, target=f"usr/{name}"))
    for applet in applets:
        directory, _, name = applet.rpartition("/")
        directory = "usr/sbin" if directory.endswith("sbin") else "usr/bin"
        target = "busybox" if directory == "usr/bin" else "../bin/busybox"
        files.put(Entry(f"{directory}/{name}", "symlink", 0o777, target=target))
    files.put(Entry("usr/bin/busybox", "file", 0o755, source=Path(path).resolve()))
    return files.entries()


def from_host(paths: Iterable[str | os.PathLike[str]]) -> list[Entry]:
    """The smallest tree with these programs and everything they load, at the same places as here.

    A name with no slash is looked up in PATH. A directory comes with all it holds, and a program or library
    in it with what that loads. What a program opens only while it runs (data, modules, other programs) can't
    be seen from outside: name it too. Raises :class:`NotOnHost` for what isn't there, a library that is
    missing, or a script: it would need its interpreter and everything that it starts; OSError as open(2).
    """
    if isinstance(paths, str):
        raise ValueError(f"from_host takes a list of programs: [{paths!r}]")
    files = _start()
    for path in map(place, paths):
        if path.is_dir():
            _add_needs(files, files.add_tree(path))
            continue
        real = files.add(path)
        with real.open("rb") as stream:
            first = stream.readline(256)
        if first.startswith(b"#!"):
            interpreter = os.fsdecode(first[2:]).strip()
            what = f"is a script for {interpreter}, of which nobody can see what it loads"
            remedy = f"Name {interpreter.split(' ')[0]} and the programs that the script starts instead."
            raise NotOnHost(what, path, remedy)
        _add_needs(files, [real])
    return files.entries()


def place(program: str | os.PathLike[str]) -> Path:
    """Where a program is, as a shell finds it; a name that is nowhere stays as it is."""
    text = os.fspath(program)
    return Path(text if "/" in text else shutil.which(text) or text)


def _add_needs(files: HostFiles, programs: Iterable[Path]) -> None:
    for program in programs:
        for needed in elf.needs(program):
            files.add(needed)


def python() -> list[Entry]:
    """The interpreter that runs this, its standard library and what they load, as ``python3``.

    Installed packages are left out, and so are the interpreter's own tests and what needs a screen. There is
    no shell: that comes from a layer of :func:`busybox` below this one. Raises :class:`NotOnHost` for a
    library that is missing.
    """
    files = _start()
    program = files.add(Path(getattr(sys, "_base_executable", sys.executable)).resolve())
    library = files.add_tree(sysconfig.get_path("stdlib"), _not_of_python)
    _add_needs(files, [program, *library])
    for name in ("python3", "python"):
        if str(program) != f"/usr/bin/{name}":
            files.add("/usr/bin")
            files.put(Entry(f"usr/bin/{name}", "symlink", 0o777, target=str(program)))
    return files.entries()


def _not_of_python(path: Path) -> bool:
    """Whether a path of the standard library stays at home.

    Of what is compiled, only what the interpreter would use: with it a start is several times as fast.
    """
    if path.suffix == ".pyc":
        return not _fits(path)
    return path.name in _NO_PYTHON or path.name.startswith(("config-", "_tkinter."))


def _fits(compiled: Path) -> bool:
    """Whether a .pyc file was made by this interpreter from its source as that is now. See PEP 3147."""
    try:
        source = Path(importlib.util.source_from_cache(str(compiled)))
        status, header = source.stat(), compiled.read_bytes()[:16]
    except (ValueError, OSError):
        return False
    plain = str(compiled) == importlib.util.cache_from_source(str(source), optimization="")
    time_and_size = struct.pack("<II", int(status.st_mtime) & 0xFFFFFFFF, status.st_size & 0xFFFFFFFF)
    return plain and header == importlib.util.MAGIC_NUMBER + bytes(4) + time_and_size
