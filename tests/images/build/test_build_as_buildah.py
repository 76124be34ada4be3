"""The same Dockerfile, built by the kit and by buildah: the same files, and the same settings."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

from kit.images import rootfs, save
from kit.images.build import build
from kit.images.store import Store
from tests.images.peers import NEEDED, Peers
from tests.images.trees import tree

DOCKERFILE = r"""
ARG BASE=docker.io/library/busybox
FROM $BASE AS tools
ONBUILD RUN echo by the parent > /onbuild
RUN mkdir -p /opt/tool/bin && printf '#!/bin/sh\necho tool\n' > /opt/tool/bin/tool \
    # and it can be run
    && chmod 755 /opt/tool/bin/tool
FROM $BASE AS never
RUN false
FROM tools
ARG VERSION=1.0
ARG unset
ENV NAME="a b" VERSION2=${VERSION}-x PATH=/opt/tool/bin:$PATH
ENV OLD the old form
RUN echo me:x:1000:1001:Me:/home/me:/bin/sh >> /etc/passwd; printf 'me:x:1001:\nmore:x:50:me\n' >> /etc/group
WORKDIR /work
WORKDIR sub
COPY --chmod=0640 file ./
COPY --chown=me:more file /named/
RUN echo "$HOME $PATH $(id -u):$(id -g) $PWD $VERSION ${unset-unset} $NAME" > /seen && tool >> /seen
RUN ["sh", "-c", "umask >> /seen; rm -r /etc/nsswitch.conf /opt/tool/bin; mkdir /opt/tool/bin"]
USER me
RUN echo "$HOME $(id -u):$(id -g) $(id -G | tr ' ' '\n' | sort | tr '\n' ' ') $PWD" > /tmp/me
USER 7:8
RUN echo "$HOME $(id -u):$(id -g) $(id -G)" > /tmp/seven && chmod 4755 /tmp/seven && ln /tmp/seven /tmp/again
USER root:50
RUN echo "$(id -u):$(id -g)" >> /seen
USER me
LABEL one="1 2" two=$VERSION
EXPOSE 80 53/udp
VOLUME /data /more
STOPSIGNAL SIGUSR1
ENTRYPOINT ["tool"]
CMD ["-v", "$NAME"]
SHELL ["/bin/ash", "-c"]
HEALTHCHECK --interval=30s --timeout=1m30s --retries=2 CMD tool --check
COPY --from=tools /opt /copied
ADD archive.tar.gz /added/
"""
SETTINGS = "User Entrypoint Cmd WorkingDir ExposedPorts Volumes StopSignal Shell OnBuild".split()

MOUNT_POINTS = {
    "run",
    "etc/hosts",
    "etc/hostname",
    "etc/resolv.conf",
}  # which buildah leaves, and the kit not


@pytest.mark.needs(*NEEDED)
def test_the_same_files_and_settings(store: Store, context: Path, tmp_path: Path) -> None:
    (context / "Dockerfile").write_text(DOCKERFILE)
    (context / "file").write_text("content")
    with tarfile.open(context / "archive.tar.gz", "w:gz") as archive:
        archive.add(context / "file", "in/side")
    given = {"VERSION": "2.0"}

    image = build(store, context, build_args=given).image
    with rootfs.mount(store, image, read_only=True) as root:
        ours = tree(root.path, times=False)

    peers = Peers(tmp_path / "peers")
    with (tmp_path / "busybox.tar").open("wb") as out:
        save(store, ["busybox"], out)
    peers.run("podman", "load", "-q", "-i", tmp_path / "busybox.tar")
    peers.run(
        "buildah", "bud", "--isolation", "chroot", "--format", "docker", "--layers", "--pull-never", "-q",
        "--build-arg", "VERSION=2.0", "-t", "localhost/theirs", context,
    )  # fmt: skip
    theirs = tree(peers.unpacked("localhost/theirs", tmp_path / "theirs"), times=False)
    told = json.loads(peers.run("buildah", "inspect", "--type", "image", "localhost/theirs"))["Docker"][
        "config"
    ]

    for name in ("seen", "tmp/me", "tmp/seven"):
        assert ours[name][2] == theirs[name][2], name
    assert ours.keys() ^ theirs.keys() == MOUNT_POINTS
    assert {name: (ours[name], theirs[name]) for name in ours if ours[name] != theirs[name]} == {}
    config = image.config["config"]
    assert sorted(config.pop("Env")) == sorted(told.pop("Env"))  # buildah moves what is set anew to the end
    assert {key: config.get(key) for key in SETTINGS} == {key: told.get(key) or None for key in SETTINGS}
    assert config["Healthcheck"] == {key: value for key, value in told["Healthcheck"].items() if value}
    assert config["Labels"].items() <= told["Labels"].items()
