"""Running probes, each in a child of its own that is cut off at its time limit, a few side by side."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import suppress

from kit import owner
from kit.preflight.row import Finding, Probe, Row

#: How many probes run at a time: most of them wait for the kernel rather than compute.
TOGETHER = 3
#: How long a killed child may take to go. One that is stuck inside the kernel can't be waited for.
DYING = 1.0


class _Running:
    """A probe's child: started at once, its answer read piece by piece, ended with all that it started."""

    def __init__(self, probe: Probe) -> None:
        self.probe = probe
        self.answer = b""
        self.started = time.monotonic()
        self.deadline = self.started + probe.seconds
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "kit.preflight.child", *probe.call],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=True,
        )
        assert self.process.stdout is not None
        self.pipe = self.process.stdout.fileno()

    def read(self) -> bool:
        """Take what has come; False at the end of the answer."""
        piece = os.read(self.pipe, 65536)
        self.answer += piece
        return bool(piece)

    def end(self) -> bool:
        """Kill the child with its whole session and reap it; False when it is stuck in the kernel."""
        os.killpg(self.process.pid, signal.SIGKILL)  # not reaped yet, so the number is still its own
        assert self.process.stdout is not None
        self.process.stdout.close()
        try:
            self.process.wait(DYING)
        except subprocess.TimeoutExpired:
            return False
        return True

    def leave(self) -> None:
        """Wait for a child that has answered to be gone: until its deadline, without reaping it."""
        while time.monotonic() < self.deadline:
            if os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG):
                return
            time.sleep(0.001)

    def row(self, finding: Finding) -> Row:
        remedy = "" if finding.works == "yes" else finding.remedy or self.probe.remedy
        return Row(
            self.probe.name,
            finding.works,
            finding.detail,
            self.probe.chapters,
            remedy,
            round(time.monotonic() - self.started, 3),
        )

    def finished(self) -> Row:
        """The row of a child that has closed its pipe: its answer, or what it died of."""
        self.leave()
        self.end()
        try:
            finding = Finding(**json.loads(self.answer))
        except ValueError:
            status = self.process.returncode
            cause = (
                f"ended by {signal.Signals(-status).name}"
                if status and status < 0
                else f"ended with status {status}"
            )
            finding = Finding("no", f"the probe's process {cause} before it could answer")
        return self.row(finding)

    def cut(self) -> Row:
        """The row of a child that has not answered in time."""
        gone = self.end()
        stuck = "" if gone else ", and its process is stuck in the kernel"
        return self.row(Finding("no", f"no answer within {self.probe.seconds:g} s{stuck}"))


def examine(probes: Iterable[Probe]) -> list[Row]:
    """Run the probes and return a row for each, in their order.

    Whatever happens, a KeyboardInterrupt included, every child is killed with all that it started, and what a
    killed one had noted down in its journal (a control group, a mount) is removed.
    """
    order = list(probes)
    waiting = order[::-1]
    running: list[_Running] = []
    rows: dict[str, Row] = {}
    complete = True
    with selectors.DefaultSelector() as selector:
        try:
            while waiting or running:
                while waiting and len(running) < TOGETHER:
                    running.append(_Running(waiting.pop()))
                    selector.register(running[-1].pipe, selectors.EVENT_READ, running[-1])
                nearest = min(child.deadline for child in running)
                ready = [key.data for key, _ in selector.select(max(0.0, nearest - time.monotonic()))]
                for child in list(running):
                    answered = child in ready and not child.read()
                    late = time.monotonic() >= child.deadline
                    if answered or late:
                        selector.unregister(child.pipe)
                        running.remove(child)
                        rows[child.probe.name] = child.finished() if answered else child.cut()
                        complete = complete and answered and child.process.returncode == 0
        finally:
            for child in running:
                child.end()
            if running or not complete:
                with suppress(OSError):  # what can't be removed yet stays in the journal, for kit clean
                    owner.clean()
    return [rows[probe.name] for probe in order]
