"""A thousand containers in a row leave no trace; an engine killed at thirty moments tells the truth."""

from __future__ import annotations

import http.client
import json
import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from kit import owner
from tests.engine.test_death import killed, started

pytestmark = [pytest.mark.needs("root"), pytest.mark.timeout(300)]
TRUE = {"Image": "busybox", "Cmd": ["true"]}


class Api:
    """One connection to the engine, which is kept."""

    def __init__(self, path: Path) -> None:
        self.connection = http.client.HTTPConnection("engine")
        self.connection.sock = socket.socket(socket.AF_UNIX)
        self.connection.sock.settimeout(30)
        self.connection.sock.connect(str(path))

    def __call__(self, method: str, path: str, body: Any = None) -> Any:
        """What a request is answered with. Raises AssertionError for a refusal, OSError for a dead engine."""
        headers = {"Content-Type": "application/json"}
        data = None if body is None else json.dumps(body)
        self.connection.request(method, f"/v1.44{path}", data, headers)
        answer = self.connection.getresponse()
        text = answer.read()
        assert answer.status < 300, f"{method} {path}: {answer.status} {text!r}"
        return json.loads(text) if text.strip() else None


@contextmanager
def api(path: Path) -> Iterator[Api]:
    found = Api(path)
    try:
        yield found
    finally:
        found.connection.close()


def one(ask: Api) -> None:
    made = ask("POST", "/containers/create", TRUE)["Id"]
    ask("POST", f"/containers/{made}/start")
    assert ask("POST", f"/containers/{made}/wait")["StatusCode"] == 0
    ask("DELETE", f"/containers/{made}")


def held(pid: int) -> dict[str, int]:
    """Descriptors, threads and memory of an engine and its helper."""
    everyone = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    return {
        "processes": len(everyone),
        "descriptors": sum(process.num_fds() for process in everyone),
        "threads": sum(process.num_threads() for process in everyone),
        "memory": sum(process.memory_full_info().uss for process in everyone),
    }


def test_a_thousand_in_a_row(root: Path, tmp_path: Path) -> None:
    engine = started(tmp_path / "s", root)
    try:
        with api(tmp_path / "s") as ask:
            for _ in range(300):  # until every thread and buffer that is kept has come
                one(ask)
            before = held(engine.pid)
            for _ in range(700):
                one(ask)
            after = held(engine.pid)
            assert ask("GET", "/containers/json?all=1") == []
    finally:
        engine.terminate()
        engine.communicate(timeout=20)
    assert engine.returncode == 0
    assert list((root / "containers").iterdir()) == []
    assert after["processes"] == before["processes"]
    assert after["descriptors"] <= before["descriptors"] + 2
    assert after["threads"] <= before["threads"] + 2
    assert after["memory"] < before["memory"] + (4 << 20), (before, after)


class Stream:
    """Clients that run containers until the engine is killed, and what it has told them by then."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.created: set[str] = set()
        self.started: set[str] = set()
        self.ended: set[str] = set()
        self.asked_to_go: set[str] = set()
        self.gone: set[str] = set()
        self.wrong: list[AssertionError] = []
        self.threads = [threading.Thread(target=self._run) for _ in range(3)]
        for thread in self.threads:
            thread.start()

    def _run(self) -> None:
        try:
            with suppress(OSError, http.client.HTTPException), api(self.path) as ask:  # it has been killed
                while True:
                    made = ask("POST", "/containers/create", TRUE)["Id"]
                    self.created.add(made)
                    ask("POST", f"/containers/{made}/start")
                    self.started.add(made)
                    assert ask("POST", f"/containers/{made}/wait")["StatusCode"] == 0
                    self.ended.add(made)
                    self.asked_to_go.add(made)
                    ask("DELETE", f"/containers/{made}")
                    self.gone.add(made)
        except AssertionError as error:
            self.wrong.append(error)

    def check(self, ask: Api) -> None:
        """Whether the next engine says the same."""
        assert self.wrong == []
        told = {about["Id"]: about for about in ask("GET", "/containers/json?all=1")}
        assert self.created - self.asked_to_go <= set(told), "it has forgotten a container"
        assert not self.gone & set(told), "it remembers a container that it said was removed"
        for container, about in told.items():
            state = ask("GET", f"/containers/{container}/json")["State"]
            assert about["State"] == state["Status"] in ("created", "exited"), state
            assert not state["Running"] and not state["Pid"]
            assert (state["ExitCode"], state["Error"]) in ((0, ""), (137, "the engine was killed")), state
            if container in self.started:
                assert state["Status"] == "exited", state
            if container in self.ended:
                assert state["ExitCode"] == 0, "it has forgotten how a container ended"


def test_killed_at_thirty_moments(root: Path, tmp_path: Path) -> None:
    dice = random.Random(30)
    stream: Stream | None = None
    ran = 0
    for _ in range(30):
        engine = started(tmp_path / "s", root)
        try:
            with api(tmp_path / "s") as ask:
                if stream:
                    stream.check(ask)
                for about in ask("GET", "/containers/json?all=1"):
                    ask("DELETE", f"/containers/{about['Id']}")
                if dice.random() < 0.7:  # else it is killed while it makes its helper and its network
                    one(ask)
            stream = Stream(tmp_path / "s")
            time.sleep(dice.uniform(0.0, 0.5))
        finally:
            killed(engine)
        for thread in stream.threads:
            thread.join()
        ran += len(stream.ended)
    assert ran > 100  # it was at work when it was killed
    engine = started(tmp_path / "s", root)
    with api(tmp_path / "s") as ask:
        stream.check(ask)
        for about in ask("GET", "/containers/json?all=1"):
            ask("DELETE", f"/containers/{about['Id']}")
    engine.terminate()
    engine.communicate(timeout=20)
    assert engine.returncode == 0 and list((root / "containers").iterdir()) == []
    journals = owner.state_directory().glob("kit-*.jsonl")
    assert [path for path in journals if str(root) in path.read_text()] == []
    assert not any(str(root) in line for line in Path("/proc/mounts").read_text().splitlines())
    assert not [pid for pid in psutil.pids() if str(root) in _command(pid)]


def _command(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return ""
