"""COPY and ADD put the same files at the same places as buildah's, for all the forms that both have."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest

from kit.images import rootfs
from kit.images.build import build
from kit.images.store import Store
from tests.images.peers import NEEDED, Peers
from tests.images.trees import tree

FILES = """a b.md README.md .hidden sp_ace star*x [x] dir/x dir/sub/y dir/sub/z.md other/x
    ign/keep ign/drop ign/sub/k n/node_modules/q""".split()
DOCKERFILE = r"""ARG base=scratch
FROM $base AS one
COPY dir /src/
COPY --chown=5:6 dir /owned
FROM scratch
COPY a /1
COPY a /2/
COPY a b.md /3/
COPY dir /4
COPY dir/ /5/
COPY dir/* /6/
COPY *.md /7/
COPY . /8/
COPY l /9/
COPY lf /10/
COPY lf /11
COPY ["sp_ace", "/12/"]
COPY star\*x /13/
COPY --chmod=600 dir /14
COPY --chown=3:4 dir /15/deep
ADD t.tar.xz /16/
ADD t.tar.xz a /17/
COPY t.tar.xz /18/
COPY --from=one /src /19
COPY --from=one /owned/x /20/
COPY --from=one owned /21
COPY --from=0 /src/./link /22/
WORKDIR /23/w
COPY a .
COPY a sub/
COPY dir/./sub/../x ./y
COPY l[^a-e] /24/
COPY ?.md /25/
COPY "a" '/26'
COPY ign /27/
COPY n /28/
ENV V=a DEST=/29
COPY $V ${DEST}/${NO:-z}
COPY dir /30
COPY other /30
COPY --chmod=0640 a /31
"""


@pytest.mark.needs(*NEEDED)
def test_the_same_tree(store: Store, tmp_path: Path) -> None:
    directory = tmp_path / "context"
    for name in FILES:
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(name)
    (directory / "dir").chmod(0o750)
    for link, target in {"dir/link": "x", "l": "dir", "lf": "a", "abs": "/a"}.items():
        (directory / link).symlink_to(target)
    os.link(directory / "dir/x", directory / "dir/hard")
    with tarfile.open(directory / "t.tar.xz", "w:xz") as archive:
        archive.add(directory / "dir", "in")
    (directory / ".dockerignore").write_text("ign\n!ign/keep\n**/node_modules\nreadme.md\n")
    (directory / "Dockerfile").write_text(DOCKERFILE)
    with rootfs.mount(store, build(store, directory).image, read_only=True) as root:
        ours = tree(root.path, times=False)
    peers = Peers(tmp_path / "peers")
    peers.run("buildah", "bud", "--isolation", "chroot", "-q", "-t", "localhost/copy", directory)
    theirs = tree(peers.unpacked("localhost/copy", tmp_path / "theirs"), times=False)
    assert ours == theirs
