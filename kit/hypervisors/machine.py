"""The hypervisor itself: it makes a guest, gives it memory and devices, runs it, and takes it back.

    with Machine() as machine:
        machine.attach(console := Console())
        machine.boot(code)
        print(machine.run(seconds=1), console.text)

See Popek and Goldberg, "Formal requirements for virtualizable third generation architectures", 1974, for what
a hypervisor is; the name for each return from the guest, exit, is Intel's ("VM exit").
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass
from typing import Literal, Protocol

from kit.hypervisors import long_mode
from kit.hypervisors.exits import Cpu, Exit, Reason

CODE = 0x8000  # where a guest's program lies: behind the page tables


class Device(Protocol):
    """Something at ports or addresses: it is told what the guest writes, and asked for what it reads."""

    ports: range
    addresses: range

    def write(self, place: int, data: bytes) -> None:
        """The guest has written ``data`` to the port or address ``place``."""

    def read(self, place: int, size: int) -> bytes:
        """The ``size`` bytes that the guest reads there."""


@dataclass(frozen=True)
class Run:
    """One stay in the guest: why it ended, how many seconds it took, and all its exits by reason."""

    ended: Reason
    seconds: float
    exits: dict[str, int]
    registers: dict[str, int]

    def __str__(self) -> str:
        told = ", ".join(f"{reason} {count:,}" for reason, count in self.exits.items())
        return f"{self.ended} after {self.seconds * 1000:.2f} ms; exits: {told}"


class Machine:
    """A virtual machine with ``memory`` bytes, on the given virtual CPU, by default the best that runs here."""

    def __init__(self, memory: int = 2 << 20, cpu: Cpu | None = None) -> None:
        if memory < 1 << 16 or memory % 4096 or memory > long_mode.MAPPED:
            raise ValueError(f"memory is 64 KiB to 1 GiB in whole pages of 4096 bytes, and not {memory} bytes")
        self.cpu = cpu or best(memory)
        self.exits: Counter[str] = Counter()
        self._devices: list[Device] = []

    def attach(self, device: Device) -> None:
        """Plug in a device. ValueError where another one answers already."""
        for other in self._devices:
            for mine, theirs in ((device.ports, other.ports), (device.addresses, other.addresses)):
                if mine and theirs and mine.start < theirs.stop and theirs.start < mine.stop:
                    raise ValueError(f"{device!r} and {other!r} would both answer at {max(mine[0], theirs[0]):#x}")
        self._devices.append(device)

    def boot(self, code: bytes, mode: Literal["real", "long"] = "real", at: int = CODE) -> None:
        """Put a program into memory and the CPU at its beginning, in 16-bit real mode or in 64-bit mode."""
        memory = self.cpu.memory
        if at + len(code) > len(memory):
            raise ValueError(f"{len(code)} bytes at {at:#x} do not fit into {len(memory):,} bytes of memory")
        memory[at : at + len(code)] = code
        if mode == "real":
            self.cpu.real_mode(at)
        else:
            long_mode.page_tables(memory)
            self.cpu.long_mode(at)

    def run(self, seconds: float = 1.0) -> Run:
        """Run the guest until it halts, breaks down or is stopped, at most ``seconds``."""
        before = self.exits.copy()
        watchdog = threading.Timer(seconds, self.cpu.stop)
        watchdog.start()
        begin = time.perf_counter()
        try:
            ended = self.cpu.run(self._handle)
        finally:
            took = time.perf_counter() - begin
            watchdog.cancel()
            watchdog.join()
        self.exits[ended.reason] += 1
        return Run(ended.reason, took, dict(self.exits - before), self.cpu.registers())

    def _handle(self, exit: Exit) -> bytes:
        self.exits[exit.reason] += 1
        at_port = exit.reason.startswith("port")
        for device in self._devices:
            if exit.address in (device.ports if at_port else device.addresses):
                if exit.reason in ("port in", "memory read"):
                    return device.read(exit.address, exit.size)
                device.write(exit.address, exit.data)
                return b""
        return b"\xff" * exit.size  # nobody drives the wires: all ones

    def close(self) -> None:
        """Take everything back."""
        self.cpu.close()

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Machine on {self.cpu.kind}, {len(self.cpu.memory) >> 10} KiB>"


def best(memory: int) -> Cpu:
    """A virtual CPU on KVM where that runs a guest, else in software."""
    from kit.hypervisors import kvm, software

    return kvm.KvmCpu(memory) if kvm.works() else software.SoftwareCpu(memory)
