"""A container's life: start, stop, the end and what follows from it. See "restart policy" in docker-run(1).

    create ──► start ──► running ◄──► paused
                 ▲          │ the program ends, or is killed
                 └─ policy ─┴──► exited ──► removed

Waiting is done in the engine's loop; what may take the kernel a while is done in threads.
"""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import ExitStack, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kit.engine import options
from kit.engine.asked import Refused, bad, conflict
from kit.engine.container import Container
from kit.engine.execs import end_of, watch
from kit.engine.options import number_of
from kit.engine.streams import Stdio
from kit.linux.remove import remove_path

if TYPE_CHECKING:
    from kit.containers import Container as Task
    from kit.engine.server import Engine

STOP_SECONDS = 10.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 60.0  # seconds before a restart; doubled each time
_RAN_WELL = 10.0  # seconds after which the next pause is the first again


class Life:
    """What the engine does with its containers."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.removals: set[asyncio.Task[None]] = set()  # of the files of what has been removed

    def tell(self, container: Container, action: str, **more: str) -> None:
        self.engine.events.tell("container", action, container.id, container.attributes(**more))

    async def start(self, container: Container) -> bool:
        """Start it; False where it runs already. Raises Refused in Docker's words: clients look for them."""
        async with container.lock:
            if container.state["Paused"]:
                raise conflict("cannot start a paused container, try unpause instead")
            if container.running:
                return False
            if container.going:
                raise conflict("the container is being removed")
            stdio = Stdio(container.terminal, bool(container.config.get("OpenStdin")))
            cleanup = ExitStack()
            try:
                task = await asyncio.to_thread(self._launch, container, stdio, cleanup)
            except Exception as error:
                stdio.close()
                await asyncio.to_thread(cleanup.close)
                container.plugged = None
                refused = _refused(container, error)
                container.state.update(ExitCode=refused[0], Error=str(refused[1]))
                container.save()
                self._settle(container)
                if container.host.get("AutoRemove"):
                    await self._remove(container)
                raise refused[1] from error
            container.task, container.stdio = task, stdio
            stdio.begin(container.audience, task.master)
            container.began(task.pid)
            self._job(container, self._supervise(container, task, stdio, cleanup))
            self.tell(container, "start")
            if check := container.config.get("Healthcheck"):
                self._job(container, watch(self.engine, container, check))
            return True

    def _job(self, container: Container, work: Any) -> None:
        job = asyncio.get_running_loop().create_task(work)
        container.jobs.add(job)
        job.add_done_callback(container.jobs.discard)

    def _launch(self, container: Container, stdio: Stdio, cleanup: ExitStack) -> Task:
        """In a thread: mount, plug in, write the document of the runtime-spec, start."""
        from kit import containers

        root = cleanup.enter_context(container.disk.mounted())
        host, config = container.host, container.config
        given = options.for_runtime(config, host, root)
        mode = host.get("NetworkMode") or "default"
        if mode.startswith("container:"):
            other = self.engine.find(mode.partition(":")[2])
            if not other.running:
                raise conflict(f"cannot join the network of {other.name}: it is not running")
            given["network"] = f"/proc/{other.state['Pid']}/ns/net"
        elif mode in ("host", "none"):
            given["network"] = mode
        else:
            plugged = container.plugged = self.engine.networks.plug(container)
            cleanup.callback(plugged.close)
            given["network"] = plugged.path
        if given.get("uts") != "host":
            given["hostname"] = config["Hostname"]
        given["mounts"] = self.files(container) + container.binds
        document = containers.config({}, **given)
        size = host.get("ConsoleSize") or [0, 0]
        return containers.start(
            container.id, document, root, tty=container.terminal, size=(size[0] or 24, size[1] or 80),
            stdin=stdio.theirs[0], stdout=stdio.theirs[1], stderr=stdio.theirs[2],
        )  # fmt: skip

    def files(self, container: Container) -> list[tuple[str, str, str]]:
        """/etc/hostname, /etc/hosts and /etc/resolv.conf, as the networks have it."""
        mode = container.host["NetworkMode"]
        if mode.startswith("container:"):
            other = self.engine.find(mode.partition(":")[2])
            return [(str(other.directory / name), f"/etc/{name}", "rw") for name in ("hosts", "resolv.conf")]
        name = container.config["Hostname"]
        hosts = ["127.0.0.1\tlocalhost", "::1\tlocalhost ip6-localhost ip6-loopback"]
        resolv = Path("/etc/resolv.conf").read_text() if Path("/etc/resolv.conf").exists() else ""
        names = False
        if mode == "host":
            hosts = Path("/etc/hosts").read_text().splitlines()
        elif container.plugged:
            hosts += [f"{one.ip}\t{name}" for one in container.plugged.endpoints.values()]
            if names := any(one.network.resolves for one in container.plugged.endpoints.values()):
                resolv = "nameserver 127.0.0.11\noptions ndots:0\n"
        for pair in container.host.get("ExtraHosts") or ():
            host, _, address = pair.partition(":")
            hosts.append(f"{address}\t{host}")
        for word, key in (("nameserver", "Dns"), ("search", "DnsSearch"), ("options", "DnsOptions")):
            wish = container.host.get(key)
            if wish and not (names and word == "nameserver"):  # there the name server asks them
                kept = [line for line in resolv.splitlines() if line.split()[:1] != [word]]
                values = wish if word == "nameserver" else [" ".join(wish)]
                resolv = "\n".join([*kept, *(f"{word} {one}" for one in values), ""])
        texts = {"hostname": f"{name}\n", "hosts": "\n".join(hosts) + "\n", "resolv.conf": resolv}
        for file, text in texts.items():
            (container.directory / file).write_text(text)
        return [(str(container.directory / file), f"/etc/{file}", "rw") for file in texts]

    async def _supervise(self, container: Container, task: Task, stdio: Stdio, cleanup: ExitStack) -> None:
        """Wait for the end, tell everybody, and start it again where its policy says so."""
        status = await end_of(task)
        await stdio.end()
        async with container.lock:
            out_of_memory = task.oom_killed

            cleanup.callback(task.close)
            error = ""
            try:
                await asyncio.to_thread(cleanup.close)
            except OSError as refused:  # it has ended all the same; the journal lists what is left
                error = str(refused)
            container.task = container.stdio = container.plugged = None
            container.over(status, out_of_memory, error)
            if out_of_memory:
                self.tell(container, "oom")
            self.tell(container, "die", exitCode=str(status))
            self._settle(container)
            if container.host.get("AutoRemove") and not self.engine.closing:
                await self._remove(container)
                return
        if not self.engine.closing and self._again(container, status):
            self._job(container, self._restart_later(container))

    def _settle(self, container: Container) -> None:
        """Wake those who wait for the end."""
        container.audience.end()
        container.stopped.set()
        container.log.wake()
        container.next_exit.set()
        container.next_exit = asyncio.Event()

    def _again(self, container: Container, status: int) -> bool:
        policy = container.host.get("RestartPolicy") or {}
        name, most = policy.get("Name"), policy.get("MaximumRetryCount") or 0
        if container.document["StoppedByHand"] or container.going:
            return False
        if name == "on-failure":
            return status != 0 and (not most or container.document["RestartCount"] < most)
        return name in ("always", "unless-stopped")

    async def _restart_later(self, container: Container) -> None:
        began, ended = (datetime.fromisoformat(container.state[key]) for key in ("StartedAt", "FinishedAt"))
        ran = (ended - began).total_seconds()
        container.pause = _FIRST_PAUSE if ran > _RAN_WELL else min(container.pause * 2, _LONGEST_PAUSE)
        container.state.update(Status="restarting", Restarting=True)
        container.save()
        await asyncio.sleep(container.pause)
        if container.document["StoppedByHand"] or container.going or container.running:
            return
        container.document["RestartCount"] += 1
        with suppress(Refused):  # its state tells why
            await self.start(container)

    async def kill(self, container: Container, number: int) -> None:
        """Send a signal, and wait for the end if it is SIGKILL; raises Refused where it does not run."""
        task = container.task
        if task is None or not container.running:
            raise conflict(f"Cannot kill container: {container.name}: {container.id} is not running")
        if number in (signal.SIGKILL, number_of(container.config.get("StopSignal") or "TERM")):
            container.document["StoppedByHand"] = True
        await asyncio.to_thread(task.kill, number)
        if number == signal.SIGKILL and container.state["Paused"]:  # the frozen can't die
            await asyncio.to_thread(task.resume)
        self.tell(container, "kill", signal=str(number))
        if number == signal.SIGKILL:
            await container.stopped.wait()

    async def stop(self, container: Container, seconds: float | None = None, gently: str = "") -> bool:
        """The stop signal, and after ``seconds`` (-1: never) SIGKILL; False where it does not run."""
        container.document["StoppedByHand"] = True
        if container.state["Restarting"]:
            container.over(container.state["ExitCode"])
        if not container.running:
            return False
        if seconds is None:
            asked_for = container.config.get("StopTimeout")
            seconds = STOP_SECONDS if asked_for is None else float(asked_for)
        if container.state["Paused"]:
            await self.pause(container, False)
        with suppress(Refused):  # it has just ended
            number = number_of(gently or container.config.get("StopSignal") or "TERM")
            await self.kill(container, number if seconds else signal.SIGKILL)
        try:
            await asyncio.wait_for(container.stopped.wait(), None if seconds < 0 else seconds)
        except TimeoutError:
            with suppress(Refused):
                await self.kill(container, signal.SIGKILL)
            await container.stopped.wait()
        self.tell(container, "stop")
        return True

    async def pause(self, container: Container, pause: bool) -> None:
        """Freeze it, or let it go on. Raises Refused."""
        async with container.lock:
            if container.task is None:
                raise conflict(f"Container {container.id} is not running")
            if container.state["Paused"] == pause:
                raise conflict(f"Container {container.id} is {'already' if pause else 'not'} paused")
            await asyncio.to_thread(container.task.pause if pause else container.task.resume)
            container.state.update(Paused=pause, Status="paused" if pause else "running")
            container.save()
        self.tell(container, "pause" if pause else "unpause")

    async def remove(self, container: Container, force: bool = False, volumes: bool = False) -> None:
        """Remove it, with ``force`` even while it runs, and its anonymous ``volumes``. Raises Refused."""
        while True:
            async with container.lock:  # it can't be started meanwhile
                if not container.running and not container.state["Restarting"]:
                    return await self._remove(container, volumes)
            if not force:
                what = f"You cannot remove a running container {container.id}"
                raise conflict(f"{what}. Stop the container before attempting removal or force remove")
            await self.stop(container, 0)

    async def _remove(self, container: Container, volumes: bool = True) -> None:
        if container.going:
            return
        container.going = True
        for job in container.jobs:
            if job is not asyncio.current_task():
                job.cancel()
        self.engine.forget(container)
        container.disk.close()
        gone = container.directory.with_name(f".{container.id}")
        container.directory.rename(gone)  # at once; what is left of it after a crash goes at the next start
        removal = asyncio.create_task(asyncio.to_thread(remove_path, gone))
        if container.host.get("AutoRemove"):  # nobody asked for it now, and somebody waits for the end
            self.removals.add(removal)
            removal.add_done_callback(self.removals.discard)
        else:
            await removal
        anonymous = [one["Name"] for one in container.document["Mounts"] if volumes and one.get("Anonymous")]
        for name in anonymous:
            if not any(name in other.volumes for other in self.engine.containers):
                with suppress(Refused):  # somebody has removed it
                    await asyncio.to_thread(self.engine.volumes.remove, name)
        container.removed.set()
        container.next_exit.set()
        self.tell(container, "destroy")


def _refused(container: Container, error: Exception) -> tuple[int, Exception]:
    """The exit status that goes with a failed start, and the error in the words that clients look for."""
    if isinstance(error, Refused | ValueError):
        return 128, error
    number = getattr(error, "errno", None)
    words = container.words
    text = f'failed to start container: exec: "{words[0]}": '
    what = getattr(error, "what", "")
    if what.startswith("exec") and number == 2:
        place = "executable file not found in $PATH" if "/" not in words[0] else "no such file or directory"
        return 127, bad(f"{text}{place}: {error}")
    if what.startswith("exec") and number in (8, 13, 20, 21):
        return 126, bad(f"{text}{os.strerror(number).lower()}: {error}")
    return 128, Refused(500, f"failed to start container: {error}")
