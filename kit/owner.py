"""Who owns what: so that nothing made by the kit outlives the program that made it. See flock(2).

A cgroup, a mount and a temporary directory stay when their maker dies. So before the kit makes one, the
program writes a line about it into a journal of its own, and holds a lock on that journal as long as it
lives: the kernel lets go of the lock at its death, whatever the cause. A journal that can be locked is a dead
program's, and what it lists, and nothing else, is removed by exact name. Processes, namespaces and what is
inside them need no line: they belong to the helper process (:mod:`kit.linux.helper`), and end with it.
"""

from __future__ import annotations

import atexit
import errno
import fcntl
import json
import os
import secrets
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from kit.linux import cgroupfs, forwarding, iptables, nftables
from kit.linux.errors import KernelError
from kit.linux.links import link_exists, remove_link
from kit.linux.mount import MNT_DETACH, UMOUNT_NOFOLLOW, umount
from kit.linux.proc import mountinfo
from kit.linux.remove import remove_path


def _remove_mount(path: str) -> None:
    if any(entry.mount_point == path for entry in mountinfo()):
        umount(path, UMOUNT_NOFOLLOW | MNT_DETACH)


def _remove_directory(path: str) -> None:
    inside = [
        e.mount_point for e in mountinfo() if e.mount_point == path or e.mount_point.startswith(path + "/")
    ]
    for mount_point in reversed(inside):  # never delete through a mount into someone else's files
        _remove_mount(mount_point)
    with suppress(FileNotFoundError):
        remove_path(path)


#: How a thing of each kind is removed, by its exact path; one that has gone already is fine.
_REMOVERS: dict[str, Callable[[str], None]] = {
    "cgroup": cgroupfs.remove,
    "mount": _remove_mount,
    "directory": _remove_directory,
    "link": remove_link,
    "table": nftables.remove_table,
    "forwarding": forwarding.restore,
    "iptables": iptables.remove,
}

#: What only a program in the same network namespace can see.
_IN_NETWORK = {"link", "table", "iptables", "forwarding"}

#: How a thing is looked for that is no file.
_FINDERS: dict[str, Callable[[str], bool]] = {
    "mount": lambda path: any(entry.mount_point == path for entry in mountinfo()),
    "link": link_exists,
    "table": nftables.table_exists,
    "iptables": iptables.accepts,
}


@dataclass(frozen=True)
class Owned:
    """One thing that the kit made and that would outlive it; ``path`` is its name, for what is no file.

    ``kind`` is cgroup, mount, directory, link, table (nftables'), iptables (a link's rules) or forwarding.
    """

    kind: str
    path: str

    def exists(self) -> bool:
        """Whether it is still there; of a kind that only another version of the kit knows, it may be."""
        if self.kind not in _REMOVERS:
            return True
        return _FINDERS.get(self.kind, os.path.lexists)(self.path)

    def remove(self) -> None:
        """Remove it by its exact name.

        Gone already is fine. Raises :class:`KernelError` or OSError where refused, ENOTSUP for a kind that
        only another version of the kit knows.
        """
        if self.kind not in _REMOVERS:
            remedy = "Another version of the kit made it, and its `kit clean` can."
            raise KernelError(f"remove the {self.kind} {self.path}", errno.ENOTSUP, remedy)
        _REMOVERS[self.kind](self.path)


def state_directory() -> Path:
    """Where the journals lie, made when missing: /run/kit for root, else below XDG_RUNTIME_DIR or /tmp.

    Raises :class:`KernelError`: EPERM where it belongs to someone else, who could plant names for us to
    remove, or why it can't be made (EACCES, EROFS, ENOSPC).
    """
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if os.geteuid() == 0:
        path = Path("/run/kit")
    else:
        path = Path(runtime, "kit") if runtime else Path(tempfile.gettempdir(), f"kit-{os.geteuid()}")
    remedy = (
        "Point XDG_RUNTIME_DIR at a directory of your own." if os.geteuid() else "Root keeps it below /run."
    )
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        what = f"make the directory of the kit's journals, {path}"
        raise KernelError(what, error.errno or 0, remedy, str(path)) from None
    if path.lstat().st_uid != os.geteuid():
        what = f"keep a journal in {path}, which belongs to someone else"
        raise KernelError(what, errno.EPERM, remedy, str(path))
    return path


_ROOM = "Make room on the file system that it lies on, and see that you may write there."


def _network_namespace() -> str:
    return os.readlink("/proc/self/ns/net")


class Journal:
    """This program's list of what it made, one JSON line each, written before the thing itself is made.

    ``prefix`` begins every name that the program gives, such as ``kit-3fa9c1``; no two programs share one.
    """

    def __init__(self) -> None:
        # Reentrant, and a dict, which outlives a change in the middle of a look-up: the garbage collector may
        # run in any line below, and what it finds dropped is released in this same thread.
        self._lock = threading.RLock()
        self._owned: dict[Owned, None] = {}
        directory = state_directory()
        while True:
            self.prefix = f"kit-{secrets.token_hex(3)}"
            self.path = directory / f"{self.prefix}.jsonl"
            try:
                flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
                self.fd = os.open(self.path, flags, 0o600)
            except FileExistsError:
                continue
            except OSError as error:
                raise KernelError(f"begin the journal {self.path}", error.errno or 0, _ROOM) from None
            fcntl.flock(self.fd, fcntl.LOCK_EX)
            if self.path.exists():  # else another program took it for a dead one's before it was locked
                self._write("in", Owned("network namespace", _network_namespace()))
                return
            os.close(self.fd)

    def _write(self, sign: str, owned: Owned) -> None:
        line = (json.dumps([sign, owned.kind, owned.path]) + "\n").encode()
        written = 0
        try:
            written = os.write(self.fd, line)
            if written < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            os.ftruncate(self.fd, os.fstat(self.fd).st_size - written)  # the next line begins a line
            raise KernelError(f"note {owned.path} in {self.path}", error.errno or 0, _ROOM) from None

    def add(self, owned: Owned) -> None:
        """Note it, before it is made. Raises :class:`KernelError` ENOSPC: then it must not be made."""
        with self._lock:
            self._write("+", owned)
            self._owned[owned] = None

    def forget(self, owned: Owned) -> None:
        """Note that it is gone; an empty journal is removed at the end of the program."""
        with self._lock:
            if owned in self._owned:
                self._owned.pop(owned, None)
                with suppress(KernelError):  # no room for the line: what it would say is seen by looking
                    self._write("-", owned)

    def owned(self) -> list[Owned]:
        """What the program owns now, in the order in which it was made."""
        with self._lock:
            return list(self._owned)


def _read(fd: int) -> list[Owned]:
    """What a journal lists as made and not removed.

    A last line cut short by death is skipped: nothing followed it.
    """
    owned: list[Owned] = []
    *lines, _cut = os.pread(fd, os.fstat(fd).st_size, 0).decode().split("\n")
    for line in lines:
        sign, kind, name = json.loads(line)
        if sign == "+":
            owned.append(Owned(kind, name))
        elif sign == "-" and Owned(kind, name) in owned:
            owned.remove(Owned(kind, name))
    return owned


_journal: Journal | None = None
_journal_lock = threading.RLock()


def journal() -> Journal:
    """This program's journal, begun at the first use; what dead programs left is removed then."""
    global _journal
    with _journal_lock:
        if _journal is None:
            with suppress(OSError):  # it stays in its journal, and ``kit clean`` tells why
                clean()
            _journal = Journal()
        return _journal


def _forked() -> None:
    """A forked copy owns nothing, and must not hold the lock on for its parent."""
    global _journal, _journal_lock
    if _journal is not None:
        os.close(_journal.fd)
    _journal, _journal_lock = None, threading.RLock()


os.register_at_fork(after_in_child=_forked)


def prefix() -> str:
    """How every name begins that this program gives to a kernel object, such as ``kit-3fa9c1``."""
    return journal().prefix


@contextmanager
def owns(kind: str, path: str) -> Iterator[Owned]:
    """Own a thing while the block runs.

    Noted before it is made inside, removed at the end, whatever happens.
    """
    owned = Owned(kind, path)
    journal().add(owned)
    try:
        yield owned
    finally:
        release(owned)


def release(owned: Owned) -> None:
    """Remove a thing that this program owns and strike it off the journal.

    It stays listed where that is refused. What this program does not own, as a forked copy doesn't own its
    parent's, is left alone.
    """
    if _journal is not None and owned in _journal.owned():
        owned.remove()
        _journal.forget(owned)


def scratch(name: str) -> Path:
    """A new temporary directory of this program, readable for its user alone, and removed at its end."""
    owned = Owned(
        "directory", os.path.join(tempfile.gettempdir(), f"{prefix()}-{name}-{secrets.token_hex(3)}")
    )
    journal().add(owned)
    os.mkdir(owned.path, 0o700)
    return Path(owned.path)


@contextmanager
def directory(name: str) -> Iterator[Path]:
    """A temporary directory of this program, removed at the end; what is mounted below is unmounted first."""
    path = scratch(name)
    try:
        yield path
    finally:
        release(Owned("directory", str(path)))


@contextmanager
def _dead() -> Iterator[list[tuple[Path, int]]]:
    """The journals of dead programs, locked while the block runs."""
    held: list[tuple[Path, int]] = []
    try:
        for path in sorted(state_directory().glob("kit-*.jsonl")):
            try:
                fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            except FileNotFoundError:  # its owner, or another cleaner, has just removed it
                continue
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:  # its owner lives
                os.close(fd)
                continue
            held.append((path, fd))
            if os.fstat(fd).st_nlink == 0:  # its owner's end, or another cleaner, has removed it meanwhile
                os.close(held.pop()[1])
        yield held
    finally:
        for _, fd in held:
            os.close(fd)


def leftovers() -> list[Owned]:
    """What dead programs left behind and is still there."""
    with _dead() as journals:
        return [owned for _, fd in journals for owned in _read(fd) if owned.exists()]


def clean() -> list[Owned]:
    """Remove what dead programs left behind, by exact name; what was removed. Living programs' things stay.

    Raises :class:`KernelError` or OSError for what can't be removed, after everything else has been; its
    journal stays.
    """
    removed: list[Owned] = []
    refused: OSError | None = None
    with _dead() as journals:
        for path, fd in journals:
            stays = False
            here = _network_namespace() in os.pread(fd, 100, 0).decode()
            for owned in reversed(_read(fd)):
                try:
                    if owned.kind in _IN_NETWORK and not here:
                        stays = True  # for a cleaner in that network namespace
                    elif owned.exists():
                        owned.remove()
                        removed.append(owned)
                except OSError as error:
                    stays, refused = True, error
            if not stays:
                path.unlink(missing_ok=True)
    if refused is not None:
        raise refused
    return removed


@atexit.register
def _end() -> None:
    """At the end of the program: remove what is still there, newest first, and the journal."""
    if _journal is not None:
        for owned in reversed(_journal.owned()):
            release(owned)
        _journal.path.unlink(missing_ok=True)
