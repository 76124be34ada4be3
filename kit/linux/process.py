"""A started process, and the line to the helper that made it. See pidfd_open(2), waitid(2)."""

from __future__ import annotations

import atexit
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Any

from kit.linux import pidfd
from kit.linux.errors import KernelError
from kit.linux.helper import receive, send

DEVNULL = subprocess.DEVNULL

_BOOT = (
    "import sys; sys.path.insert(0, sys.argv[1]); from kit.linux.helper import main; main(int(sys.argv[2]))"
)
_PACKAGE_PARENT = str(Path(__file__).resolve().parents[2])
_HELPER_ENDED = "the helper process has ended, and all that it had started with it: start them again"


Answer = tuple[dict[str, Any], list[int]]
_Asked = tuple[dict[str, Any], list[int], "Future[Answer] | None"]


class Helper:
    """The helper process and the thread that talks to it, one request at a time.

    An interrupt can stop the main thread anywhere, in the middle of a message too: so another thread does the talking,
    and a process whose starter was interrupted while waiting for the answer is closed again.
    """

    def __init__(self) -> None:
        self.owner = os.getpid()
        self._requests: SimpleQueue[_Asked | None] = SimpleQueue()  # its put is safe in a finalizer
        sock, theirs = socket.socketpair()
        with theirs:
            # In a session of its own: an interrupt meant for this program must not reach it.
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _BOOT, _PACKAGE_PARENT, str(theirs.fileno())],
                pass_fds=[theirs.fileno()], stdin=DEVNULL, stdout=DEVNULL, start_new_session=True,
            )  # fmt: skip
        threading.Thread(target=self._talk, args=(sock,), name="kit helper", daemon=True).start()

    def _talk(self, sock: socket.socket) -> None:
        with sock:
            while (asked := self._requests.get()) is not None:
                request, fds, future = asked
                try:
                    send(sock, request, fds)
                    answer = receive(sock)
                except (BrokenPipeError, ConnectionResetError):
                    answer = None
                for fd in fds:
                    os.close(fd)
                if future is None:
                    continue
                if answer is None:
                    future.set_exception(RuntimeError(_HELPER_ENDED))
                else:
                    future.set_result(answer)

    def tell(self, request: dict[str, Any]) -> None:
        """Ask without waiting for the answer."""
        self._requests.put((request, [], None))

    def ask(self, request: dict[str, Any], fds: list[int]) -> Answer:
        """Send a request with descriptors, which are closed then, and wait for the answer.

        Raises RuntimeError where the helper has died.
        """
        future: Future[Answer] = Future()
        self._requests.put((request, fds, future))
        try:
            return future.result()
        except RuntimeError:
            raise
        except BaseException:  # an interrupt: the answer will come, and nobody waits for it
            future.add_done_callback(self._abandon)
            raise

    def _abandon(self, future: Future[Answer]) -> None:
        if future.exception() is None:
            answer, fds = future.result()
            for fd in fds:
                os.close(fd)
            if "pid" in answer:
                self.tell({"do": "close", "pid": answer["pid"], "reaped": False})

    def end(self) -> None:
        """Close the line: the helper kills all it has started and ends."""
        self._requests.put(None)
        self.process.wait()


_helper: Helper | None = None
_helper_lock = threading.Lock()


def the_helper() -> Helper:
    """The program's helper: started at the first use, and anew where it has died or the program has forked."""
    global _helper
    with _helper_lock:
        if _helper is None or _helper.owner != os.getpid() or _helper.process.poll() is not None:
            _helper = Helper()
        return _helper


@atexit.register
def _end_helper() -> None:
    if _helper is not None and _helper.owner == os.getpid():
        _helper.end()


def helper_pid() -> int | None:
    """The helper's process number, None before the first use: the parent of every process started here."""
    return _helper.process.pid if _helper is not None and _helper.owner == os.getpid() else None


class Process:
    """A started process, held by a pidfd. ``pid`` is its number as seen from here; ``returncode`` is None
    while it runs.

    ``stdin``, ``stdout`` and ``stderr`` are binary files where PIPE was asked for, else None. As a context
    manager, it is killed with its process group, reaped and closed at the end; so it is when the object is
    dropped.
    """

    def __init__(
        self, argv: list[str], pid: int, fd: int, helper: Helper, pipes: Sequence[int | None]
    ) -> None:
        self.argv, self.pid, self.pidfd = argv, pid, fd
        self.returncode: int | None = None
        self.stdin: IO[bytes] | None = (
            os.fdopen(pipes[0], "wb", buffering=0) if pipes[0] is not None else None
        )
        self.stdout: IO[bytes] | None = (
            os.fdopen(pipes[1], "rb", buffering=0) if pipes[1] is not None else None
        )
        self.stderr: IO[bytes] | None = (
            os.fdopen(pipes[2], "rb", buffering=0) if pipes[2] is not None else None
        )
        self._helper = helper
        self._reaped: list[int] = []
        self._finalizer = weakref.finalize(self, _drop, helper, pid, fd, self._reaped)
        self._finalizer.atexit = False  # the helper's end does it

    def __repr__(self) -> str:
        state = "running" if self.poll() is None else f"ended with {self.returncode}"
        return f"<Process {self.pid} {' '.join(self.argv)!r} {state}>"

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def poll(self) -> int | None:
        """The exit status if it has ended, else None; a signal's number is negated."""
        return self._wait(0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end, at most ``timeout`` seconds; the exit status, a signal's number negated.

        Raises TimeoutError with the process still running.
        """
        status = self._wait(timeout)
        if status is None:
            raise TimeoutError(
                f"process {self.pid} ({' '.join(self.argv)}) is still running after {timeout} s"
            )
        return status

    def _wait(self, timeout: float | None) -> int | None:
        if self.returncode is None and self._finalizer.alive and pidfd.wait_exit(self.pidfd, timeout):
            if not self._reaped:
                answer, _ = self._helper.ask({"do": "wait", "pid": self.pid}, [])
                self._reaped.append(answer["status"])
            self.returncode = self._reaped[0]
        return self.returncode

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal, SIGKILL unless told otherwise.

        Nothing happens when it has ended. Raises :class:`KernelError` EPERM.
        """
        if not self._finalizer.alive or self._reaped:
            return
        try:
            pidfd.send_signal(self.pidfd, number)
        except ProcessLookupError:
            return
        except OSError as error:
            raise KernelError(
                f"send signal {int(number)} to process {self.pid}",
                error.errno or 0,
                "It belongs to another user.",
            ) from None

    def communicate(self, timeout: float | None = None) -> tuple[bytes, bytes]:
        """Read standard output and error to their ends and wait: the two as bytes. Closes stdin first.

        Raises TimeoutError after ``timeout`` seconds, with the process still running.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        read: dict[IO[bytes], bytearray] = {}
        if self.stdin is not None:
            self.stdin.close()
        with selectors.DefaultSelector() as selector:
            for file in (self.stdout, self.stderr):
                if file is not None and not file.closed:
                    read[file] = bytearray()
                    selector.register(file, selectors.EVENT_READ)
            while selector.get_map():
                left = None if deadline is None else max(0.0, deadline - time.monotonic())
                ready = selector.select(left)
                if not ready and left == 0.0:
                    raise TimeoutError(
                        f"process {self.pid} ({' '.join(self.argv)}) still holds its output after {timeout} s"
                    )
                for key, _ in ready:
                    part = os.read(key.fd, 65536)
                    if part:
                        read[key.fileobj] += part  # type: ignore[index]
                    else:
                        selector.unregister(key.fileobj)
        self.wait(None if deadline is None else max(0.0, deadline - time.monotonic()))
        out, err = (
            bytes(read.get(file, b"")) if file is not None else b"" for file in (self.stdout, self.stderr)
        )
        return out, err

    def close(self) -> None:
        """Kill it with its process group, reap it, close its pipes. May be called again."""
        if self._finalizer.alive:
            self._wait(0)
            self._finalizer.detach()
            os.close(self.pidfd)
            try:
                request = {"do": "close", "pid": self.pid, "reaped": bool(self._reaped)}
                answer, _ = self._helper.ask(request, [])
            except RuntimeError:  # the helper has died, and the process with it
                answer = {"status": -signal.SIGKILL}
            if self.returncode is None:
                self.returncode = answer["status"]
        for file in (self.stdin, self.stdout, self.stderr):
            if file is not None:
                file.close()


def _drop(helper: Helper, pid: int, fd: int, reaped: list[int]) -> None:
    """The object is gone and was not closed: so the process ends."""
    os.close(fd)
    if helper.owner == os.getpid():
        helper.tell({"do": "close", "pid": pid, "reaped": bool(reaped)})
