"""Whole builds on the real kernel: every instruction, stages, arguments, failures, and what a layer keeps."""

from __future__ import annotations

import json
import os
import stat
import tarfile
import threading
from pathlib import Path

import pytest

from kit import owner
from kit.images import build as builder
from kit.images.build import BadDockerfile, BuildFailed, Done, Output, Started, Warned
from kit.images.build.dockerfile import parse
from kit.images.build.plan import Plan
from kit.images.errors import BadReference, NoSuchPlatform, UnknownImage
from kit.images.image import Image
from kit.images.seed import scratch_store, seed
from kit.images.store import Store
from kit.linux.errors import KernelError
from kit.linux.mount import mount
from tests.images.images import image, layer

pytestmark = pytest.mark.needs("root", "busybox")


def names(store: Store, image: Image, number: int = -1) -> list[str]:
    """The members of a layer, by default of the topmost."""
    with store.open(image.layers[number]) as blob, tarfile.open(fileobj=blob, mode="r|*") as archive:
        return [member.name for member in archive]


def content(files, image: Image, name: str) -> str:
    return files(image)[name][2].decode()


def ran(build, text: str, **how) -> str:
    """What the RUNs of a build print."""
    parts = []
    build(
        text, progress=lambda e: parts.append(e.data) if isinstance(e, Output) else None, no_cache=True, **how
    )
    return b"".join(parts).decode()


# Instructions


def test_every_instruction_in_the_configuration(build):
    built = build(
        """FROM scratch
LABEL a=1 b="two words"
ENV PATH=/bin X=1
ENV Y=$X-2 X=3
EXPOSE 80 53/udp
VOLUME /data /more
USER 12:34
STOPSIGNAL SIGINT
SHELL ["/bin/ash", "-ec"]
CMD echo $X
ENTRYPOINT ["/bin/hello", "there"]
HEALTHCHECK --interval=1m30s --timeout=500ms --retries=3 CMD ["/bin/check"]
ONBUILD RUN x y
"""
    )
    assert built.image.config["config"] == {
        "Labels": {"a": "1", "b": "two words"},
        "Env": ["PATH=/bin", "X=3", "Y=1-2"],
        "ExposedPorts": {"80/tcp": {}, "53/udp": {}},
        "Volumes": {"/data": {}, "/more": {}},
        "User": "12:34",
        "StopSignal": "SIGINT",
        "Shell": ["/bin/ash", "-ec"],
        "Cmd": ["/bin/ash", "-ec", "echo $X"],
        "Entrypoint": ["/bin/hello", "there"],
        "Healthcheck": {
            "Test": ["CMD", "/bin/check"], "Interval": 90 * 10**9, "Timeout": 5 * 10**8, "Retries": 3,
        },
        "OnBuild": ["RUN x y"],
    }  # fmt: skip
    assert built.image.layers == [] and all(line["empty_layer"] for line in built.image.history)


def test_history_tells_every_instruction(build):
    image = build(
        'FROM busybox\nARG A=1\nENV B=$A\nRUN echo hi  >  /x\nWORKDIR sub\nCOPY . /c/\nCMD ["sh", "-l"]\n'
    ).image
    base = Image.find(image.store, "busybox")
    assert image.history[: len(base.history)] == base.history
    assert [line["created_by"] for line in image.history[len(base.history) :]] == [
        "ARG A=1",
        "ENV B=1",
        "RUN |1 A=1 /bin/sh -c echo hi  >  /x",
        "WORKDIR /sub",
        "COPY . /c/",
        'CMD ["sh","-l"]',
    ]
    assert len(image.layers) == len(base.layers) + 3


def test_entrypoint_forgets_the_bases_command_and_keeps_its_own_stages(build):
    assert "Cmd" not in build('FROM busybox\nENTRYPOINT ["a"]\n').image.config["config"]
    assert build('FROM busybox\nCMD ["b"]\nENTRYPOINT ["a"]\n').image.config["config"]["Cmd"] == ["b"]


def test_run_in_both_forms_and_with_another_shell(build):
    text = """FROM busybox
RUN ["echo", "exec $HOME"]
RUN echo "shell $HOME" \\
    # a comment
    && echo more
SHELL ["/bin/echo", "said by echo:"]
RUN a b
"""
    assert ran(build, text) == "exec $HOME\nshell /root\nmore\nsaid by echo: a b\n"


def test_the_environment_of_a_run(build):
    env = ran(
        build, "FROM busybox\nARG A=arg\nENV E=env\nUSER nobody\nWORKDIR /w\nRUN env; id -u; pwd; cat\n"
    )
    assert set(env.split()) == {
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOSTNAME=kit-build", "SHLVL=1",
        "HOME=/nonexistent", "A=arg", "E=env", "PWD=/w", "65534", "/w",
    }  # fmt: skip


def test_workdir_makes_the_directory_once(build, files, store):
    built = build(
        "FROM busybox\nRUN ln -s usr /link\nUSER nobody\nWORKDIR /link/a\nWORKDIR b/../c\nWORKDIR /link/a\n"
    )
    assert names(store, built.image, -1) == ["usr/a/c"]
    assert [line.get("empty_layer", False) for line in built.image.history[-3:]] == [False, False, True]
    assert built.image.config["config"]["WorkingDir"] == "/link/a"
    found = files(built.image)
    assert found["usr/a/c"][:2] == (oct(stat.S_IFDIR | 0o755), (65534, 65534))
    with pytest.raises(BadDockerfile, match=r"Dockerfile:2: .*/etc/passwd is no directory"):
        build("FROM busybox\nWORKDIR /etc/passwd/x\n")


def test_copy_and_add(build, files, context):
    (context / "a.txt").write_text("a")
    (context / "b.txt").write_text("b")
    (context / "d").mkdir()
    (context / "d/s").symlink_to("../a.txt")
    with tarfile.open(context / "x.tar.gz", "w:gz") as archive:
        archive.add(context / "a.txt", "in/a")
    (context / ".dockerignore").write_text("b.txt\n")
    image = build(
        """FROM busybox
RUN echo me:x:1000:1001::/me:/bin/sh >> /etc/passwd && echo me:x:1001: >> /etc/group
COPY *.txt /texts/
COPY --chown=me:me --chmod=0640 a.txt /bin/mine
COPY ["d", "/d"]
ADD x.tar.gz /tar/
COPY x.tar.gz /
"""
    ).image
    found = files(image)
    assert [name for name in found if name.startswith("texts/")] == ["texts/a.txt"]
    assert found["usr/bin/mine"][:3] == (oct(stat.S_IFREG | 0o640), (1000, 1001), b"a")
    assert found["bin"][2] == "usr/bin"  # still the link that it was
    assert found["d/s"][2] == "../a.txt"
    assert found["tar/in/a"][2] == b"a" and found["x.tar.gz"][2][:2] == b"\x1f\x8b"


def test_copy_of_what_is_not_there_or_outside(build, context):
    for source in ("nothing", "../store", "/etc/passwd"):
        with pytest.raises(BadDockerfile, match=r"Dockerfile:2: .*context"):
            build(f"FROM busybox\nCOPY {source} /\n")
    (context / "out").symlink_to("/etc/passwd")
    with pytest.raises(BadDockerfile, match="leads out of the context"):
        build("FROM busybox\nCOPY out/ /\n")


# Stages


def test_stages_and_what_is_not_needed_is_skipped(build, files):
    text = """FROM busybox AS made
RUN mkdir /out && echo one > /out/one && ln -s one /out/link && chown 7:8 /out/one
FROM busybox AS broken
RUN false
FROM made AS more
RUN echo two > /out/two
FROM scratch
COPY --from=0 /out/one /first/
COPY --from=more /out /out
COPY --from=busybox /etc/group /
"""
    built = build(text)
    found = files(built.image)
    assert set(found) == {"first", "first/one", "out", "out/one", "out/two", "out/link", "group"}
    assert found["first/one"][1:3] == ((7, 8), b"one\n") and found["out/link"][2] == "one"
    assert [step.stage for step in built.steps] == ["made"] * 2 + ["more"] * 2 + ["3"] * 4
    assert [step.number for step in built.steps] == list(range(1, 9)) and {s.total for s in built.steps} == {
        8
    }
    assert len(build(text, target="made").steps) == 2
    assert build(text, target="2").steps[-1].text == "RUN echo two > /out/two"
    with pytest.raises(BuildFailed):
        build(text, target="Broken")
    with pytest.raises(BadDockerfile, match=r"no stage is called 'nix'.*There are: made, broken, more, 3"):
        build(text, target="nix")


def test_thousands_of_stages_on_each_other_are_planned(store):
    text = "FROM scratch AS s0\n" + "".join(f"FROM s{n - 1} AS s{n}\n" for n in range(1, 2000))
    assert len(Plan(store, parse(text), {}, None).stages) == 2000


def test_onbuild_runs_in_what_is_built_from_it_and_no_further(build, files):
    build("FROM busybox\nONBUILD ARG A=1\nONBUILD RUN echo $A > /made\n", tags=["parent"])
    built = build("FROM parent\nCMD sh\n", tags=["child"], build_args={"A": "2"})
    assert [step.text for step in built.steps] == ["FROM parent", "ARG A=1", "RUN echo $A > /made", "CMD sh"]
    assert content(files, built.image, "made") == "2\n"
    assert "OnBuild" not in built.image.config["config"]
    assert len(build("FROM child\nENV X=1\n").steps) == 2
    assert len(build("FROM busybox AS a\nONBUILD RUN true\nFROM a\n").steps) == 4


def test_a_base_that_the_kit_can_make_is_made(tmp_path, context):
    (context / "Dockerfile").write_text("FROM hello-world\nENV A=1\n")
    store = Store(tmp_path / "new")
    assert builder.build(store, context).image.config["config"]["Cmd"] == ["/hello"]
    assert list(store.tags()) == ["docker.io/library/hello-world:latest"]


def test_from_an_id_and_nothing_more_is_the_image_itself(build, store):
    base = Image.find(store, "busybox")
    built = build(f"FROM {base.id[7:19]}\n", tags=["other", "localhost:5000/third:1"])
    assert built.image.descriptor.digest == base.descriptor.digest
    assert built.tags == ["other:latest", "localhost:5000/third:1"]
    assert store.resolve("localhost:5000/third:1").digest == base.descriptor.digest


# Arguments


def test_arguments(build):
    text = """ARG BASE=busybox
ARG GLOBAL=global
FROM $BASE
ARG GLOBAL
ARG A=${GLOBAL}-a
ARG B
ARG C=c
ENV C=env
RUN echo "$GLOBAL $A ${B:-unset} $C $BASE$http_proxy"
ARG TARGETARCH
RUN echo "$TARGETARCH"
FROM busybox
RUN echo "$A"
"""
    assert ran(build, text, target="0").split("\n")[0] == "global global-a unset env "
    given = {"A": "1", "B": "2", "C": "3", "GLOBAL": "4", "http_proxy": "proxy"}
    assert ran(build, text, target="0", build_args=given).split("\n") == ["4 1 2 env proxy", "amd64", ""]
    assert ran(build, text, build_args=given) == "\n"
    assert "=proxy" not in json.dumps(build(text, target="0", build_args=given).image.config)
    with pytest.raises(UnknownImage, match="Dockerfile:3"):
        build(text, target="0", build_args={"BASE": "nowhere"})


def test_an_argument_that_nothing_takes_is_warned_of(build):
    told = []
    build("FROM busybox\nARG A\n", build_args={"A": "1", "B": "2", "HTTPS_PROXY": "3"}, progress=told.append)
    assert [e.text for e in told if isinstance(e, Warned)] == [
        "The build argument B was not used: no ARG of these stages takes it."
    ]


def test_labels_of_the_call(build):
    built = build("FROM busybox\nLABEL a=1 b=1\n", labels={"b": "2", "c": "3"})
    labels = built.image.config["config"]["Labels"]
    assert (labels["a"], labels["b"], labels["c"]) == ("1", "2", "3")


# Layers


def test_what_a_run_changed_and_nothing_else(build, files, store):
    image = build(
        """FROM busybox
RUN mkdir /d && echo 1 > /d/old && echo 2 > /gone
RUN echo x > /suid && chown 5:6 /suid && chmod 4755 /suid && ln /suid /same && mkfifo -m 600 /fifo \\
 && rm /gone && rm -r /d && mkdir /d && echo new > /d/new && touch -d @5 /old
RUN test ! -e /gone && test "$(ls /d)" = new && test "$(stat -c %h /same)" = 2
"""
    ).image
    assert sorted(names(store, image)) == [
        ".wh.gone", "d", "d/.wh..wh..opq", "d/new", "fifo", "old", "same", "suid",
    ]  # fmt: skip
    found = files(image)
    assert found["suid"][:2] == (oct(stat.S_IFREG | 0o4755), (5, 6))
    assert found["same"][5] == found["suid"][5]  # one file with two names
    assert "gone" not in found and found["old"][3] == 5 * 10**9


def test_a_run_that_changes_nothing_makes_no_layer(build):
    image = build(
        "FROM busybox\nRUN mknod /x b 8 0; true\n"
    ).image  # the kit unpacks no devices, and makes none
    assert image.history[-1]["empty_layer"] and len(image.layers) == 1


@pytest.mark.parametrize("way", ["argument", "environment"])
def test_the_same_input_gives_the_same_digest(tmp_path, context, way, monkeypatch):
    (context / "a").write_text("a")
    (context / "Dockerfile").write_text(
        "FROM busybox\nWORKDIR /w\nCOPY a b/\nRUN echo x > new && ln -s x /link && rm /etc/group\n"
        "FROM busybox\nCOPY --from=0 /w /w\nRUN touch -d @7 /early\nENV A=1\n"
    )
    if way == "environment":
        monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000000000")
    given = 1_000_000_000 if way == "argument" else None
    built = []
    for number in range(2):
        os.utime(context / "a")
        with scratch_store() as store:
            image = builder.build(store, context, source_date_epoch=given).image
            built.append(image.descriptor.digest)
            assert image.config["created"] == "2001-09-09T01:46:40Z"
            for number in range(1, len(image.layers)):
                with (
                    store.open(image.layers[number]) as blob,
                    tarfile.open(fileobj=blob, mode="r|*") as archive,
                ):
                    assert {member.mtime for member in archive} <= {7, 1_000_000_000}
    assert built[0] == built[1]


# Failures


def test_a_failing_run(build, store, files):
    told = []
    text = "FROM busybox\n\nRUN echo before \\\n && echo why >&2 && exit 3\nRUN true\n"
    with pytest.raises(BuildFailed) as failed:
        build(text, tags=["never"], progress=told.append)
    error = failed.value
    assert (error.status, error.output, error.where) == (3, "before\nwhy\n", "Dockerfile:3")
    assert str(error) == "Dockerfile:3: RUN echo before && echo why >&2 && exit 3: exit status 3\nbefore\nwhy"
    assert list(store.tags()) == ["docker.io/library/busybox:latest"]
    assert [type(event) for event in told if not isinstance(event, Output)] == [Started, Done] * 2
    assert "exit status 3" in told[-1].step.error
    assert list((store.directory / "mounts").iterdir()) == []
    assert content(files, build("FROM busybox\nRUN echo good > /x\n").image, "x") == "good\n"


@pytest.mark.parametrize(
    ("run", "message"),
    [
        ("RUN nonsense", "exit status 127.*is it in the image, and in its PATH"),
        ('RUN ["nonsense"]', "exec nonsense: ENOENT"),
        ("SHELL [\"/bin/bash\"]\nRUN x", "exec /bin/bash: ENOENT"),
        ("USER nobody\nRUN echo > /x", "exit status 1"),
        ("RUN wget http://example.org", "no network unless the build has: --network=host"),
        ("RUN sh -c 'kill -SEGV $$'; exit $?", "exit status 139"),
        ("USER who\nRUN true", "no user 'who'"),
    ],
)  # fmt: skip
def test_other_failures_of_a_run(build, run, message):
    with pytest.raises((BuildFailed, BadDockerfile), match=message) as failed:
        build(f"FROM busybox\n{run}\n")
    assert str(failed.value).startswith("Dockerfile:")


def test_out_of_memory(build, monkeypatch):
    monkeypatch.setattr("kit.images.build.run.MEMORY", 16 << 20)
    with pytest.raises(BuildFailed, match=r"out of memory.*have it use less"):
        build("FROM busybox\nRUN x=a; while true; do x=$x$x; done\n")


def test_before_anything_runs(build, store, context, tmp_path):
    told = []
    for text, wrong, message in (
        ("FROM busybox\nRUN false\nFROM nowhere\nCOPY --from=0 / /\n", UnknownImage, "Dockerfile:3"),
        ("FROM busybox\nRUN false\nCOPY --from=nowhere / /\n", UnknownImage, "Dockerfile:3"),
        ("FROM --platform=linux/s390x busybox\nRUN false\n", NoSuchPlatform, "linux/s390x"),
        (
            "FROM b\nFROM busybox AS b\nCOPY --from=0 x y\n",
            BadDockerfile,
            "Dockerfile:1: b is this stage",
        ),
        ("FROM busybox\nCOPY --from=0 x y\n", BadDockerfile, "Dockerfile:2: 0 is this stage itself"),
        ("FROM busybox AS b\nCOPY --from=b x y\n", BadDockerfile, "Dockerfile:2: b is this stage itself"),
        ("FROM busybox\nFROM busybox\nCOPY --from=1 x y\n", BadDockerfile, "Dockerfile:3: 1 is this stage"),
        ("FROM Bad_Name\n", BadReference, "Dockerfile:1"),
        ("FROM busybox\nRUN false\nNONSENSE\n", BadDockerfile, "Dockerfile:3"),
    ):
        with pytest.raises(wrong, match=message):
            build(text, progress=told.append)
    with pytest.raises(BadReference, match="capitals"):
        build("FROM busybox\nRUN false\n", tags=["Never"], progress=told.append)
    with pytest.raises(BadReference, match="digest"):
        build("FROM busybox\nRUN false\n", tags=[f"a@sha256:{'0' * 64}"], progress=told.append)
    with pytest.raises(ValueError, match="network"):
        build("FROM busybox\n", network="bridge")
    with pytest.raises(BadDockerfile, match=r"Dockerfile:2: RUN --network=host.*Build with --network=host"):
        build("FROM busybox\nRUN --network=host false\n")
    with pytest.raises(BadDockerfile, match="no directory"):
        builder.build(store, tmp_path / "nowhere")
    with pytest.raises(BadDockerfile, match=r"can't be read.*-f FILE"):
        builder.build(store, context, dockerfile=context / "nowhere")
    assert told == []


def test_a_full_disk(seeded, tmp_path, context):
    small = tmp_path / "small"
    small.mkdir()
    with owner.owns("mount", str(small)):
        mount("tmpfs", str(small), "tmpfs", 0, "size=12m")
        store = Store(small / "store")
        seed(store, ["busybox"])
        (context / "noise").write_bytes(os.urandom(12 << 20))
        (context / "Dockerfile").write_text("FROM busybox\nCOPY noise /\n")
        with pytest.raises(BuildFailed, match=r"Dockerfile:2: .*ENOSPC") as failed:
            builder.build(store, context, tags=["never"])
        assert isinstance(failed.value.__cause__, KernelError)
        assert list(store.unfinished.iterdir()) == []
        (context / "Dockerfile").write_text("FROM busybox\nRUN head -c 20000000 /dev/zero > /x\n")
        with pytest.raises(BuildFailed, match="exit status 1\nhead: "):
            builder.build(store, context)
        (context / "Dockerfile").write_text("FROM busybox\nRUN echo > /x\n")
        builder.build(store, context, tags=["now"])


def test_interrupted_in_a_run(build, store):
    def interrupt(event: object) -> None:
        if isinstance(event, Output):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build("FROM busybox\nRUN echo > /x; echo go; sleep 1000\n", tags=["never"], progress=interrupt)
    assert list(store.tags()) == ["docker.io/library/busybox:latest"]
    assert list((store.directory / "mounts").iterdir()) == []


def test_two_builds_at_once(store, tmp_path):
    done: list[Image] = []

    def one(number: int) -> None:
        context = Path(tmp_path / f"context{number}")
        context.mkdir()
        (context / "Dockerfile").write_text(
            f"FROM busybox\nRUN touch -d @1 /same; sleep 0.2\nRUN echo {number} > /x\n"
        )
        done.append(builder.build(store, context, tags=[f"image{number}"]).image)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({image.diff_ids[1] for image in done}) == 1 and len({image.id for image in done}) == 4
    assert len(store.tags()) == 5


def test_from_an_image_without_history_or_of_another_tool(build, store, files):
    image(store, "docker.io/library/bare:latest", layer(store, a=b"a"), layer(store, b=b"b"))
    built = build("FROM bare\nCOPY Dockerfile /c\n")
    assert len(built.image.history) == 3 and set(files(built.image)) == {"a", "b", "c"}
