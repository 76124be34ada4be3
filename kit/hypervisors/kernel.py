"""A Linux kernel to boot: the machine's own or Debian's package, unpacked and not installed, and its modules.

An uncompressed kernel (vmlinux) boots in a third of the time on a software CPU, so it is unpacked here once.
See deb(5), modinfo(8), and "-kernel" in qemu-system-x86_64(1).
"""

from __future__ import annotations

import io
import lzma
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGES = ("linux-image-amd64", "linux-image-generic")  # Debian's and Ubuntu's: all modules, 9p among them


class NoKernel(Exception):
    """There is no kernel to boot; the message says what was tried, and what to do."""


@dataclass(frozen=True)
class Kernel:
    """A kernel image, and the directory with its modules, each without a directory above it."""

    image: Path
    modules: Path

    @property
    def release(self) -> str:
        """What uname -r says in it."""
        return self.image.parent.name.removeprefix("linux-image-")

    def closure(self, names: Iterable[str]) -> list[str]:
        """These modules and those they need, in the order in which they are to be loaded.

        What the kernel has built in is no module, and left out.
        """
        found: list[str] = []
        for name in names:
            file = self.modules / f"{name.replace('-', '_')}.ko"
            if name in found or not file.exists():
                continue
            found += [one for one in self.closure(_needs(file.read_bytes())) if one not in found]
            found.append(name)
        return found


def _needs(module: bytes) -> Iterator[str]:
    """What a module's section .modinfo says that it needs, soft dependencies to load before it too."""
    for text in re.findall(rb"\0(?:depends=|softdep=pre: )([^\0]*)", module):
        yield from re.split(r"[ ,]", text.decode()) if text else ()


def cache() -> Path:
    """Where unpacked kernels are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kit" / "kernels"


def kernel() -> Kernel:
    """The newest kernel of the distribution, fetched at the first use. Raises :class:`NoKernel`."""
    name = _package()
    place = cache() / name
    if not place.is_dir():
        cache().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache()) as directory:
            unpacked = Path(directory, "unpacked")
            unpacked.mkdir()
            for package in _download(name, Path(directory)):
                _unpack(package, unpacked)
            try:
                unpacked.rename(place)
            except OSError:  # another program was faster
                if not place.is_dir():
                    raise
    image = next(place.glob("vmlinu*"), None)
    if image is None:
        raise NoKernel(f"the package {name} holds no kernel; remove {place} and try again")
    return Kernel(image, place)


def _package() -> str:
    """The package that the newest metapackage stands for; what is in the cache where apt knows none."""
    if shutil.which("apt-cache"):
        for name in PACKAGES:
            shown = subprocess.run(["apt-cache", "depends", name], capture_output=True, text=True, timeout=60)
            if found := re.search(r"Depends: (linux-image-\S*\d\S*)", shown.stdout):
                return found[1]
    if kept := sorted(cache().glob("linux-image-*")):
        return kept[-1].name
    raise NoKernel(f"apt knows none of {', '.join(PACKAGES)}: run apt-get update, on Debian or Ubuntu, x86-64")


def _download(name: str, directory: Path) -> list[Path]:
    """The packages of the image and, on Ubuntu, its modules, which are packages of their own there."""
    names = [name]
    if "-generic" in name:
        release = name.partition("linux-image-")[2].removeprefix("unsigned-")
        names += [f"linux-modules-{release}"]
    try:
        fetch = ["apt-get", "download", *names]
        subprocess.run(fetch, cwd=directory, check=True, capture_output=True, timeout=600)
    except (OSError, subprocess.SubprocessError) as error:
        raise NoKernel(f"apt-get download {' '.join(names)} failed: {error}. Is there a network?") from None
    return list(directory.glob("*.deb"))


def _unpack(package: Path, place: Path) -> None:
    """The kernel, uncompressed where it is XZ, and all modules."""
    command = ["dpkg-deb", "--fsys-tarfile", str(package)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as stream:
        with tarfile.open(fileobj=stream.stdout, mode="r|") as archive:
            for member in archive:
                name = Path(member.name).name
                file = archive.extractfile(member) if member.isfile() else None
                if file is None:
                    continue
                if name.startswith("vmlinuz-"):
                    _write_kernel(file.read(), place)
                elif (found := re.fullmatch(r"(.*)\.ko(\.xz|\.zst)?", name)) is not None:
                    (place / f"{found[1].replace('-', '_')}.ko").write_bytes(_plain(file.read(), found[2]))


def _write_kernel(image: bytes, place: Path) -> None:
    begin = image.find(b"\xfd7zXZ\0")
    if begin < 0:
        (place / "vmlinuz").write_bytes(image)
    else:
        (place / "vmlinux").write_bytes(lzma.LZMADecompressor().decompress(image[begin:]))


def _plain(data: bytes, suffix: str | None) -> bytes:
    if suffix == ".xz":
        return lzma.decompress(data)
    if suffix == ".zst":
        import zstandard

        with zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data)) as reader:
            return bytes(reader.read())
    return data
