"""The line to the helper process, one per program. See :mod:`kit.linux.helper`, unix(7).

An interrupted cell stops the main thread anywhere, in the middle of a message too. So a thread of its own
does the talking, request after request, and alone changes the :class:`Child` that a request is about.
Whatever happens to the thread that asked, a start that is answered is recorded, and a close that follows it
in the queue finds it.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from kit.linux.messages import receive, send

_BOOT = (
    "import sys; sys.path.insert(0, sys.argv[1]); from kit.linux.helper import main; main(int(sys.argv[2]))"
)
_PACKAGE_PARENT = str(Path(__file__).resolve().parents[2])


class HelperEnded(RuntimeError):
    """The helper process has died, and with it all that it had started."""

    def __init__(
        self,
        why: str = "the helper process has ended, and all that it had started with it: start them again",
    ) -> None:
        super().__init__(why)


@dataclass
class Child:
    """A process that the helper made.

    Filled in by the talking thread, ``pid`` 0 until it has been started.
    """

    pid: int = 0
    pidfd: int = -1
    status: int | None = None
    alone: bool = False  # it has ended, and nothing of its process group is left
    closed: bool = False
    more: list[int] = field(default_factory=list)  # descriptors that came with it: see helper.start


@dataclass
class _Asked:
    request: dict[str, Any]
    fds: list[int]
    child: Child
    answer: Future[dict[str, Any]]


def _sealed_python() -> int:
    """A copy of the interpreter in memory, which nobody can change, as a descriptor.

    What runs in a container for the moment before its exec is seen there as /proc/PID/exe: were that the
    interpreter's own file, root in the container could open it for writing (CVE-2019-5736). See
    memfd_create(2), F_ADD_SEALS in fcntl(2).
    """
    writable = os.memfd_create("python", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        with open(sys.executable, "rb") as file:
            left = os.fstat(file.fileno()).st_size
            while left:
                left -= os.sendfile(writable, file.fileno(), None, left)
        seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
        fcntl.fcntl(writable, fcntl.F_ADD_SEALS, seals)
        return os.open(f"/proc/self/fd/{writable}", os.O_RDONLY | os.O_CLOEXEC)  # exec wants no writer
    finally:
        os.close(writable)


class Helper:
    """The helper process and the thread that talks to it."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self._queue: SimpleQueue[_Asked | None] = SimpleQueue()  # its put may be called in a finalizer
        self.sock, theirs = socket.socketpair()
        with theirs:
            # In a session of its own: an interrupt meant for this program must not reach it.
            python = _sealed_python()
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _BOOT, _PACKAGE_PARENT, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
                executable=f"/proc/{os.getpid()}/fd/{python}",
            )
            os.close(python)
        threading.Thread(target=self._talk, name="kit helper", daemon=True).start()

    def ask(
        self, do: str, child: Child, request: Any = None, fds: Sequence[int] = ()
    ) -> Future[dict[str, Any]]:
        """Put a request into the queue: "start" (its ``fds`` are closed once sent), "wait" or "close".

        The future holds the answer, or raises :class:`HelperEnded`.
        """
        asked = _Asked({"do": do, **(request or {})}, list(fds), child, Future())
        if self.owner == os.getpid():
            self._queue.put(asked)
        else:  # the thread that talks was not forked along: nobody would ever answer
            asked.answer.set_exception(
                HelperEnded("only the program that started a process can ask about it")
            )
        return asked.answer

    def _talk(self) -> None:
        with self.sock as sock:
            while (asked := self._queue.get()) is not None:
                answer: dict[str, Any] | None = None
                mistake: Exception = HelperEnded()
                try:
                    answer = self._exchange(sock, asked)
                except OSError:
                    pass  # the helper has ended
                except (TypeError, ValueError) as error:  # it can't be put into JSON, so nothing was sent
                    mistake = error
                for fd in asked.fds:
                    os.close(fd)
                if answer is None:
                    asked.answer.set_exception(mistake)
                else:
                    asked.answer.set_result(answer)

    def _exchange(self, sock: socket.socket, asked: _Asked) -> dict[str, Any] | None:
        do, child = asked.request["do"], asked.child
        if do != "start":
            if child.pid == 0 or child.closed or (do == "wait" and child.status is not None):
                return {}
            asked.request.update(pid=child.pid, reaped=child.status is not None)
        if do == "close":
            child.closed = True
            os.close(child.pidfd)
            if child.alone:
                return {}
        send(sock, asked.request, asked.fds)
        received = receive(sock)
        if received is None:
            if do == "close" and child.status is None:
                child.status = -signal.SIGKILL  # it died with the helper
            return None
        answer: dict[str, Any] = received[0]
        fds = received[1]
        if do == "start" and fds:
            child.pid, child.pidfd, child.more = answer["pid"], fds[0], fds[1:]
        elif child.status is None:
            child.status, child.alone = answer.get("status"), answer.get("alone", False)
        return answer

    def end(self) -> None:
        """Close the line: the helper kills all it has started and ends.

        A process in uninterruptible sleep dies later than we can wait for; the helper stays until then.
        """
        self._queue.put(None)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(10)


_helper: Helper | None = None
_lock = threading.Lock()


def the_helper() -> Helper:
    """This program's helper: begun at the first use, and anew where it has died or the program has forked."""
    global _helper
    with _lock:
        if _helper is None or _helper.process.poll() is not None:
            _helper = Helper()
        return _helper


def helper_pid() -> int | None:
    """The helper's process number, None before the first use: the parent of every process started here."""
    return _helper.process.pid if _helper is not None else None


def _forked() -> None:
    """A forked copy gets a helper of its own, and lets go of its parent's, which must see the parent die."""
    global _helper, _lock
    if _helper is not None:
        _helper.sock.close()
    _helper, _lock = None, threading.Lock()


os.register_at_fork(after_in_child=_forked)


@atexit.register
def _end() -> None:
    if _helper is not None:
        _helper.end()
