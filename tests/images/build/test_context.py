"""What COPY and ADD find, where it lands, and that nothing outside of the context is ever taken."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import socket
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard

from kit.images.build import users
from kit.images.build.context import Context, content_digest
from kit.images.build.errors import BadDockerfile
from kit.images.build.ignore import Ignore
from kit.images.build.place import missing, place
from kit.images.entry import Entry
from kit.images.errors import HostileLayer, ImageError, LayerCorrupt
from tests.images.trees import archive, directory, member, symlink

FILES = ["a", "b.md", ".hidden", "dir/x", "dir/sub/y", "dir/sub/z.md", "other/x"]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A context with a few files, each holding its own name."""
    for name in FILES:
        path = tmp_path / "context" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path / "context"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An image's tree: /bin is a link to usr/bin, /work a directory, /file a file."""
    tree = tmp_path / "root"
    for name in ("usr/bin", "work/inner", "etc"):
        (tree / name).mkdir(parents=True)
    (tree / "file").write_text("")
    (tree / "bin").symlink_to("usr/bin")
    (tree / "absolute").symlink_to("/work")
    (tree / "nowhere").symlink_to("/gone")
    (tree / "out").symlink_to("/" + "../" * 20 + "etc")
    return tree


@pytest.fixture
def context(files: Path) -> Iterator[Context]:
    with Context(files) as context:
        yield context


def found(context: Context, *sources: str) -> list[str]:
    """All files that the sources come to, by their content, and links by their targets."""
    entries = [entry for source in context.find(sources) for entry in (source.top, *source.below)]
    return [entry.open().read().decode() for entry in entries if entry.kind == "file"]


def refused(context: Context, *sources: str) -> str:
    with pytest.raises(BadDockerfile) as told:
        context.find(sources, "Dockerfile:7")
    assert str(told.value).startswith("Dockerfile:7: ")
    return str(told.value)


def test_sources(context: Context) -> None:
    for source, expected in {
        "a": "a",
        "/a": "a",
        "./dir/../a": "a",
        "dir": "dir/x dir/sub/y dir/sub/z.md",
        "dir/": "dir/x dir/sub/y dir/sub/z.md",
        "dir/sub/y": "dir/sub/y",
        "*.md": "b.md",
        "[ab]*": "a b.md",
        "?": "a",
        "dir/*": "dir/sub/y dir/sub/z.md dir/x",
        "*/x": "dir/x other/x",
        "*/*/*.md": "dir/sub/z.md",
        "\\a": "a",
    }.items():
        assert found(context, source) == expected.split(), source
    assert sorted(found(context, ".")) == sorted(FILES)
    assert sorted(found(context, "*")) == sorted(FILES)  # a star takes hidden files too, as in Docker
    assert found(context, "b.md", "a") == ["b.md", "a"]


def test_sources_that_are_not_there(context: Context, files: Path) -> None:
    assert "nope is not in the context" in refused(context, "nope")
    assert "a/b is not in the context" in refused(context, "a/b")
    assert "*.c is not in the context" in refused(context, "*.c")
    assert "a/* is not in the context" in refused(context, "a/*")
    assert "a '[' without its ']'" in refused(context, "[a")
    for source in ("..", "../context/a", "dir/../../context/a", "../*", "/../a"):
        assert "is outside the context" in refused(context, source), source
    (files / "a").unlink()
    assert "a is not in the context" in refused(context, "a")


def test_names_with_odd_characters(context: Context, files: Path) -> None:
    for name in (b"\xff", "é ü".encode(), b"new\nline", b"[x]", b"$a"):
        with open(os.fsencode(files) + b"/" + name, "wb") as file:
            file.write(b"odd")
    assert found(context, "\\[x\\]", "é ü", "$a") == ["odd"] * 3
    sources = context.find(["*"])
    assert len(sources) == 10 and content_digest(sources)


def test_links_stay_links_and_none_leads_out(context: Context, files: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (files / "dir/out").symlink_to(tmp_path / "secret")
    (files / "dir/in").symlink_to("x")
    (source,) = context.find(["dir"])
    links = {entry.name: entry.target for entry in source.below if entry.kind == "symlink"}
    assert links == {"out": str(tmp_path / "secret"), "in": "x"}
    assert found(context, "dir/in") == ["dir/x"]  # a source that is a link itself is followed, as in Docker
    for name, target in {
        "file": tmp_path / "secret",
        "up": "../secret",
        "directory": tmp_path,
        "root": "/",
        "magic": "/proc/self/root",
        "chain": "dir/out",
    }.items():
        (files / name).symlink_to(target)
        assert f"{name} leads out of the context" in refused(context, name)
        assert f"{name}" in refused(context, name + "*")
    for source in ("directory/secret", "root/etc/passwd", "directory/*", "magic/etc/passwd"):
        assert "leads out of the context" in refused(context, source), source
    (files / "round").symlink_to("round")
    with pytest.raises(OSError, match="ELOOP"):
        context.find(["round"])
    (files / "dangling").symlink_to("gone")
    assert "dangling is not in the context" in refused(context, "dangling")


def test_in_a_trees_links_its_root_is_the_root(files: Path, root: Path) -> None:
    (root / "work/x").write_text("in the tree")
    (root / "etc/passwd").write_text("the tree's")
    with Context(root, tree=True) as context:
        assert found(context, "absolute/x") == ["in the tree"]
        assert found(context, "out/passwd") == ["the tree's"]
        assert "is outside" in refused(context, "../etc/passwd")


def test_special_files(context: Context, files: Path) -> None:
    os.mkfifo(files / "dir/fifo")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(files / "dir/socket"))
        (source,) = context.find(["dir"])
        kinds = {entry.name: entry.kind for entry in source.below}
        assert kinds["fifo"] == "fifo" and "socket" not in kinds
        assert "dir/socket is not in the context" in refused(context, "dir/socket")
    (files / "dir/.wh.x").write_text("")
    with pytest.raises(ImageError, match="would delete a file of a lower layer"):
        context.find(["dir"])


@pytest.mark.needs("root")
def test_devices_are_refused(context: Context, files: Path) -> None:
    os.mknod(files / "dir/null", 0o600 | 0o020000, os.makedev(1, 3))
    with pytest.raises(ImageError, match="a device, which is a door"):
        context.find(["dir"])


@pytest.mark.needs("root")
def test_owners_and_attributes(files: Path) -> None:
    os.chown(files / "a", 7, 8)
    os.chmod(files / "a", 0o4755)
    os.setxattr(files / "a", "user.x", b"1")
    capability = b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
    os.setxattr(files / "a", "security.capability", capability)
    os.utime(files / "a", (5, 5))
    with Context(files) as context, Context(files, tree=True) as tree:
        (copied,), (kept,) = context.find(["a"]), tree.find(["a"])
        assert content_digest([copied]) != content_digest([kept])
    assert (copied.top.uid, copied.top.gid, copied.top.mode, copied.top.mtime) == (0, 0, 0o4755, 5)
    assert (kept.top.uid, kept.top.gid) == (7, 8)
    assert copied.top.xattrs == {"security.capability": capability}


def test_dockerignore(files: Path) -> None:
    def all_of(text: str, source: str = ".") -> list[str]:
        with Context(files, Ignore.parse(text.encode())) as context:
            return sorted(found(context, source))

    assert all_of("dir") == [".hidden", "a", "b.md", "other/x"]
    assert all_of("*\n!dir/sub/y") == ["dir/sub/y"]
    assert all_of("**/*.md\n!b.md") == sorted(set(FILES) - {"dir/sub/z.md"})
    assert all_of("dir\n!dir/sub/y", "dir") == ["dir/sub/y"]
    assert all_of("dir\n!dir/sub/y", "d*") == ["dir/sub/y"]
    assert all_of("dir/sub\n*.md", "*") == [".hidden", "a", "dir/x", "other/x"]
    with Context(files, Ignore.parse(b"dir\n*.md\na\n!none")) as context:
        for source in ("b.md", "dir", "dir/x", "*.md"):
            assert f"{source} is not in the context, or excluded" in refused(context, source)
        (files / "link").symlink_to("a")
        assert "link is not in the context, or excluded" in refused(context, "link")
    with Context(files, Ignore.parse(b"*\n!dir/sub/y")) as context:
        (source,) = context.find(["."])
        assert [(entry.name, entry.kind) for entry in source.below] == [
            ("dir", "directory"),
            ("dir/sub", "directory"),
            ("dir/sub/y", "file"),
        ]


def test_the_digest_is_of_content_and_not_of_time(context: Context, files: Path) -> None:
    def digest(*sources: str) -> str:
        return content_digest(context.find(sources))

    first = digest("dir", "a")
    os.utime(files / "dir/x", (1, 1))
    os.utime(files / "dir/sub", (1, 1))
    (files / "dir").chmod(0o700)  # only what it holds is copied
    assert digest("dir", "a") == first != digest("a", "dir")
    seen = {first}
    for change in (
        lambda: (files / "dir/x").write_text("changed"),
        lambda: (files / "dir/x").chmod(0o600),
        lambda: (files / "dir/sub").chmod(0o700),
        lambda: (files / "dir/x").rename(files / "dir/w"),
        lambda: (files / "dir/l").symlink_to("w"),
        lambda: ((files / "dir/l").unlink(), (files / "dir/l").symlink_to("v")),
        lambda: (files / "dir/empty").mkdir(),
        lambda: os.link(files / "dir/w", files / "dir/hard"),
    ):
        change()
        assert digest("dir", "a") not in seen
        seen.add(digest("dir", "a"))


def test_many_and_large_files_are_read_as_streams(context: Context, files: Path) -> None:
    import resource

    for number in range(2000):
        (files / f"other/{number}").write_text(str(number))
    with open(files / "dir/large", "wb") as file:
        file.truncate(256 << 20)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert content_digest(context.find(["."]))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10  # KiB


def placed(entries: list[Entry]) -> dict[str, tuple[str, str, int, int]]:
    return {entry.name: (entry.kind, oct(entry.mode), entry.uid, entry.gid) for entry in entries}


def names(context: Context, root: Path, destination: str, *sources: str, workdir: str = "/") -> str:
    return " ".join(
        entry.name for entry in place(context.find(sources), destination, root=root, workdir=workdir)
    )


def test_destinations(context: Context, root: Path) -> None:
    for destination, workdir, expected in [
        ("/work", "/", "work/a"),
        ("/work/", "/", "work/a"),
        ("/work/new", "/", "work/new"),
        ("/work/new/", "/", "work/new work/new/a"),
        ("new/b", "/work", "work/new work/new/b"),
        (".", "/work", "work/a"),
        ("./", "/work", "work/a"),
        ("..", "/work/inner", "work/a"),
        ("../../../../b", "/work", "b"),
        ("/", "/work", "a"),
        ("/bin/", "/", "usr/bin/a"),
        ("/bin/b", "/", "usr/bin/b"),
        ("/bin", "/", "usr/bin/a"),
        ("/absolute/b", "/", "work/b"),
        ("b", "/absolute/new", "work/new work/new/b"),
        ("/out/b", "/", "etc/b"),  # a link out of the tree stays in it
        ("/file", "/", "file"),
    ]:
        assert names(context, root, destination, "a", workdir=workdir) == expected, destination
    assert names(context, root, "/work", "dir").split() == [
        "work/sub",
        "work/x",
        "work/sub/y",
        "work/sub/z.md",
    ]
    assert names(context, root, "/bin/new", "dir/sub") == "usr/bin/new usr/bin/new/y usr/bin/new/z.md"
    assert names(context, root, "/work/", "dir/sub", "a", "b.md") == "work/y work/z.md work/a work/b.md"


def test_destinations_that_are_refused(context: Context, root: Path) -> None:
    (root / "work/a").mkdir()
    (root / "work/x").mkdir()
    (root / "etc/sub").symlink_to("/work")
    for sources, destination, told in [
        (["a", "b.md"], "/new", "2 files or directories to /new. End it with '/'."),
        (["*"], "/new", "files or directories to /new"),
        (["a"], "/file/b", "/file is no directory"),
        (["a"], "/file/", "is no directory"),
        (["dir"], "/file", "is no directory"),
        (["a"], "/work", "/work/a is a directory by now, and a file is to be put there"),
        (["dir"], "/work", "/work/x is a directory by now"),
        (["dir"], "/etc", "/etc/sub is no directory by now"),
        (["a"], "/nowhere/b", "leads through a link to where nothing is"),
        (["a"], "/nowhere", "leads through a link to where nothing is"),
        (["a"], "/.wh.etc", "in a layer, .wh. before a name removes a file"),
        (["a"], "/.wh..wh..opq/", "in a layer, .wh. before a name removes a file"),
    ]:
        with pytest.raises(BadDockerfile) as error:
            place(context.find(sources), destination, root=root, where="Dockerfile:3")
        assert str(error.value).startswith("Dockerfile:3: ") and told in str(error.value), destination


def test_modes_owners_and_times(context: Context, files: Path, root: Path) -> None:
    (files / "dir").chmod(0o700)  # which the destination has not to be, as in Docker
    (files / "dir/sub").chmod(0o750)
    (files / "dir/link").symlink_to("x")
    os.utime(files / "dir/sub", (5, 5))
    made = place(context.find(["dir"]), "/new/below", root=root, mtime=9)
    assert placed(made)["new"] == ("directory", "0o755", 0, 0)
    assert placed(made)["new/below"] == ("directory", "0o755", 0, 0)
    assert placed(made)["new/below/sub"] == ("directory", "0o750", 0, 0)
    assert {entry.name: entry.mtime for entry in made}["new/below/sub"] == 5
    assert [entry.mtime for entry in made[:2]] == [9, 9]
    made = place(context.find(["dir"]), "/new/below", root=root, owner=(3, 4), mode=0o400)
    assert placed(made)["new"] == ("directory", "0o755", 3, 4)
    assert placed(made)["new/below"] == ("directory", "0o755", 3, 4)
    assert placed(made)["new/below/sub"] == ("directory", "0o400", 3, 4)
    assert placed(made)["new/below/x"] == ("file", "0o400", 3, 4)
    assert placed(made)["new/below/link"] == ("symlink", "0o777", 3, 4)


def test_several_sources(context: Context, files: Path, root: Path) -> None:
    made = place(context.find(["dir", "other"]), "/new/", root=root)
    assert [entry.name for entry in made] == ["new", "new/sub", "new/x", "new/sub/y", "new/sub/z.md"]
    (x,) = (entry for entry in made if entry.name == "new/x")
    assert x.open().read() == b"other/x"  # the later one
    (files / "other/sub").write_text("")
    with pytest.raises(BadDockerfile, match="/new/sub is a directory by now"):
        place(context.find(["dir", "other"]), "/new/", root=root)


def test_hard_links(context: Context, files: Path, root: Path) -> None:
    os.link(files / "dir/x", files / "dir/sub/hard")
    (alone,) = (e for e in place(context.find(["dir"]), "/new", root=root) if e.name == "new/sub/hard")
    assert (alone.kind, alone.target) == ("hardlink", "new/x")
    made = place(context.find(["dir", "other"]), "/new/", root=root)  # whose /new/x is another file
    assert {entry.name: entry.kind for entry in made}["new/sub/hard"] == "file"
    assert context.find(["dir/x"])[0].top.kind == "file"


def test_missing_directories(root: Path) -> None:
    made = missing(root, "/bin/new/below", (1, 2), 3)
    assert placed(made) == {
        "usr/bin/new": ("directory", "0o755", 1, 2),
        "usr/bin/new/below": ("directory", "0o755", 1, 2),
    }
    assert missing(root, "/bin", (0, 0), 0) == missing(root, "/", (0, 0), 0) == []
    with pytest.raises(BadDockerfile, match="is no directory"):
        missing(root, "/file", (0, 0), 0)


PACKED = {
    "tar": bytes,
    "tar.gz": gzip.compress,
    "tar.bz2": bz2.compress,
    "tar.xz": lzma.compress,
    "tar.zst": zstandard.compress,
}


@pytest.mark.needs("root")
def test_archives_are_unpacked_by_content(context: Context, files: Path, root: Path, tmp_path: Path) -> None:
    members = [
        directory("d", uid=5),
        member("d/f", data=b"in it", uid=6, gid=7, mode=0o600),
        symlink("l", "d"),
    ]
    for ending, pack in PACKED.items():
        name = f"{ending.replace('.', '-')}.bin"
        (files / name).write_bytes(pack(archive(members).getvalue()))
        (tmp_path / ending).mkdir()
        made = place(context.find([name]), "/new", root=root, unpack_in=tmp_path / ending)
        assert placed(made) == {
            "new": ("directory", "0o755", 0, 0),
            "new/d": ("directory", "0o755", 5, 0),
            "new/d/f": ("file", "0o600", 6, 7),
            "new/l": ("symlink", "0o777", 0, 0),
        }, ending
        (f,) = (entry for entry in made if entry.name == "new/d/f")
        assert f.open().read() == b"in it"
        made = place(context.find([name]), "/new", root=root, unpack_in=tmp_path / ending, owner=(1, 2))
        assert placed(made)["new/d/f"] == ("file", "0o600", 1, 2)
        assert names(context, root, "/new", name) == "new"  # COPY leaves it as it is


def test_what_is_no_archive_is_copied(context: Context, files: Path, root: Path, tmp_path: Path) -> None:
    for number, data in enumerate(
        [
            b"",
            b"text",
            gzip.compress(b"text"),
            b"BZh9broken",
            b"\xfd7zXZ\0broken",
            b"\x1f\x8bbroken",
            bytes(1024),
        ]
    ):
        (files / f"{number}.tar").write_bytes(data)
        assert [
            entry.name
            for entry in place(context.find([f"{number}.tar"]), "/n", root=root, unpack_in=tmp_path)
        ] == ["n"], data


@pytest.mark.needs("root")
def test_hostile_archives(context: Context, files: Path, root: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()

    def add(data: bytes, **rest: int) -> list[Entry]:
        (files / "t").write_bytes(data)
        return place(context.find(["t"]), "/", root=root, unpack_in=tmp_path / "in", **rest)

    for members in (
        [member("../evil")],
        [member("/evil")],
        [symlink("l", ".."), member("l/../../evil")],
        [member("null", tarfile.CHRTYPE, devmajor=1, devminor=3)],
    ):
        with pytest.raises(HostileLayer):
            add(archive(members).getvalue())
    for pack in PACKED.values():
        whole = pack(archive([member("a", data=os.urandom(2_000_000))]).getvalue())
        with pytest.raises(LayerCorrupt, match=r"\(t"):
            add(whole[: len(whole) // 2])
    with pytest.raises(BadDockerfile, match="--chmod"):
        add(archive([member("a")]).getvalue(), mode=0o644)
    with pytest.raises(BadDockerfile, match="removes a file"):
        add(archive([member(".wh.a"), member("b")]).getvalue())
    assert not (tmp_path / "evil").exists() and not Path("/evil").exists()


def test_users(root: Path) -> None:
    (root / "etc/passwd").write_text(
        "root:x:0:0:root:/root:/bin/sh\nbad:x:y:1::/:\n\nshort:x\nweb:x:33:34:Web:/var/www:/bin/false\n"
    )
    (root / "etc/group").write_text("root:x:0:\nweb:x:34:\nlogs:x:50:bin,web\ndisk:x:51:web\nbad:x:y:web\n")
    find, owner, User = users.find, users.owner, users.User
    assert find(root, "web") == find(root, "33") == User(33, 34, (50, 51), "/var/www")
    assert find(root, "web:logs") == find(root, "33:50") == User(33, 50, (), "/var/www")
    assert find(root, "1234") == User(1234, 0) and find(root, "1234:logs") == User(1234, 50)
    assert find(root, "") == find(root, "root") == User(0, 0, (), "/root")
    assert owner(root, "web") == (33, 34) and owner(root, "33") == (33, 33)
    assert owner(root, "web:logs") == (33, 50) and owner(root, "1:2") == (1, 2)
    for text, told in {
        "nobody": "/etc/passwd has no user 'nobody'",
        "web:none": "/etc/group has no group 'none'",
        "bad": "no user 'bad'",
        "99999999999": "no user '99999999999'",
        "-1": "no user '-1'",
        "1:2:3": "no group '2:3'",
    }.items():
        with pytest.raises(BadDockerfile, match=told):
            find(root, text, "Dockerfile:2")
    (root / "etc/passwd").unlink()
    assert find(root, "7:8") == User(7, 8)
    with pytest.raises(BadDockerfile, match="Add it with RUN, or write its number"):
        find(root, "web")
    (root / "etc/passwd").symlink_to("/" + "../" * 20 + "etc/passwd")  # the machine's own is out of reach
    with pytest.raises(OSError, match="ELOOP"):
        find(root, "root")
    (root / "etc/passwd").unlink()
    os.mkfifo(root / "etc/passwd")
    assert find(root, "7") == User(7, 0)


def test_what_can_not_be_read(files: Path, tmp_path: Path) -> None:
    with pytest.raises(OSError):
        Context(tmp_path / "none")
    with pytest.raises(OSError):
        Context(files / "a")


def test_an_archive_with_an_empty_member_list(tmp_path: Path) -> None:
    from kit.images.build.archive import is_archive

    with tarfile.open(tmp_path / "a.tar", "w"):
        pass
    assert not is_archive(tmp_path / "a.tar")
    (tmp_path / "b.tar").write_bytes(io.BytesIO(archive([member("a")]).getvalue()).read())
    assert is_archive(tmp_path / "b.tar")
