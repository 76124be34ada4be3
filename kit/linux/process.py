"""A started process, held by a pidfd. See pidfd_open(2), waitid(2)."""

from __future__ import annotations

import os
import selectors
import signal
import time
import weakref
from collections.abc import Sequence
from contextlib import suppress
from errno import EINVAL
from typing import IO

from kit.linux import pidfd
from kit.linux.errors import KernelError
from kit.linux.helper_client import Child, Helper, HelperEnded


class Process:
    """A started process, held by a pidfd. ``pid`` is its number as seen from here; ``returncode`` is None
    while it runs.

    ``stdin``, ``stdout`` and ``stderr`` are binary files where PIPE was asked for, else None. As a context
    manager, it is killed with its process group, reaped and closed at the end; so it is when the object is
    dropped.
    """

    def __init__(self, argv: list[str], helper: Helper, pipes: Sequence[int | None]) -> None:
        self.argv = argv
        self.returncode: int | None = None
        self.stdin, self.stdout, self.stderr = (
            os.fdopen(fd, "rb" if number else "wb", buffering=0) if fd is not None else None
            for number, fd in enumerate(pipes)
        )
        self._helper = helper
        self._child = Child()
        self._finalizer = weakref.finalize(self, _drop, helper, self._child)
        self._finalizer.atexit = False  # the helper's end does it

    @property
    def pid(self) -> int:
        """Its number, as seen from here."""
        return self._child.pid

    @property
    def pidfd(self) -> int:
        """A descriptor that stands for it, open until it is closed."""
        return self._child.pidfd

    def keep(self) -> None:
        """Let it run on when this object is dropped."""
        self._finalizer.detach()

    def received(self) -> list[int]:
        """Descriptors that came with its start, now the caller's: see :func:`kit.linux.helper.start`."""
        fds, self._child.more = self._child.more, []
        return fds

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
        if self.returncode is None and not self._child.closed and pidfd.wait_exit(self.pidfd, timeout):
            self._helper.ask("wait", self._child).result()
            self.returncode = self._child.status
        return self.returncode

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal, SIGKILL unless told otherwise.

        Nothing happens when it has ended. Raises :class:`KernelError`: EPERM, EINVAL for no such signal.
        """
        if self._child.closed or self._child.status is not None:
            return
        try:
            pidfd.send_signal(self.pidfd, number)
        except ProcessLookupError:
            return
        except OSError as error:
            raise KernelError(
                f"send signal {int(number)} to process {self.pid}",
                error.errno or 0,
                "signal(7) lists the signals." if error.errno == EINVAL else "It belongs to another user.",
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
                if left == 0.0:  # even if there is more to read: it may never end
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
        done = self._helper.ask("close", self._child)
        self._finalizer.detach()
        with suppress(HelperEnded):  # then it is dead as well, or belongs to the program we were forked from
            done.result()
        self.returncode = self._child.status
        self._close_pipes()

    def _let_go(self) -> None:
        """End it without waiting for that."""
        self._finalizer()
        self._close_pipes()

    def _close_pipes(self) -> None:
        for file in (self.stdin, self.stdout, self.stderr):
            if file is not None:
                file.close()


def _drop(helper: Helper, child: Child) -> None:
    """The object is gone and was not closed: so the process ends."""
    helper.ask("close", child)
