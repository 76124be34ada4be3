"""A root directory of its own: a whole little system made of one file.

See pivot_root(2), hier(7), busybox(1).

BusyBox is one program that is sh, ls, ps, ping and three hundred others, depending on the name it is called
by. Debian's ``busybox-static`` needs no library, so a directory with this file and a few names pointing at
it is a root file system.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from kit import owner
from kit.linux import elf
from kit.linux.errors import KernelError

_REMEDY = "Install Debian's or Ubuntu's package busybox-static: apt-get install busybox-static"
DIRECTORIES = ("bin", "dev", "etc", "proc", "root", "sys", "tmp")


class Root:
    """A directory that can be a container's root, and is removed with all it holds at the end.

    ``with Root() as root: run("ls /", new="mount pid", root=root, proc=True)``. ``under`` is the directory
    to make it in (default: the system's temporary directory). Raises KernelError: ENOENT without a static
    busybox, ENOSPC on a full disk; nothing is left behind then.
    """

    def __init__(self, under: str | os.PathLike[str] | None = None) -> None:
        busybox = static_busybox()
        applets = subprocess.run(
            [busybox, "--list"], capture_output=True, text=True, check=True
        ).stdout.split()
        parent = Path(under or tempfile.gettempdir()).absolute()
        self.path = parent / f"{owner.prefix()}-root-{secrets.token_hex(3)}"
        with ExitStack() as cleanup:
            cleanup.enter_context(owner.owns("directory", str(self.path)))
            try:
                self.path.mkdir()
                self._fill(busybox, applets)
            except OSError as error:
                needed = os.stat(busybox).st_size >> 10
                remedy = f"It takes about {needed} KiB: make room, or say where with Root(under=...)."
                raise KernelError(f"make a root directory in {parent}", error.errno or 0, remedy) from None
            self._cleanup = cleanup.pop_all()

    def _fill(self, busybox: str, applets: list[str]) -> None:
        for directory in DIRECTORIES:
            (self.path / directory).mkdir()
        (self.path / "tmp").chmod(0o1777)
        self.path.chmod(0o755)
        shutil.copy(busybox, self.path / "bin/busybox")
        for applet in applets:
            if applet != "busybox":
                (self.path / "bin" / applet).symlink_to("busybox")
        self.write("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n")
        self.write("etc/group", "root:x:0:\nnogroup:x:65534:\n")

    def write(self, name: str, text: str) -> Path:
        """Put a text file into the root, for example ``root.write("etc/motd", "hello")``.

        Raises ValueError outside of it.
        """
        path = (self.path / name.lstrip("/")).resolve()  # follows links, which may point anywhere
        if not path.is_relative_to(self.path.resolve()):
            raise ValueError(f"{name!r} would leave the root directory: name a path inside it")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def __fspath__(self) -> str:
        return str(self.path)

    def close(self) -> None:
        """Remove the directory and all it holds."""
        self._cleanup.close()

    def __enter__(self) -> Root:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def static_busybox() -> str:
    """The path of this machine's busybox.

    Raises KernelError ENOENT when there is none or it needs shared libraries.
    """
    found = shutil.which("busybox")
    if found is None:
        raise KernelError("find busybox", errno.ENOENT, _REMEDY)
    if (file := elf.header(found)) and file.interpreter:
        what = f"use {found}, which needs shared libraries that the new root would not have"
        raise KernelError(what, errno.ELIBACC, _REMEDY)
    return found
