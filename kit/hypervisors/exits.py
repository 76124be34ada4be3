"""Why a guest stopped: what every virtual CPU tells its hypervisor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

Reason = Literal["port out", "port in", "memory write", "memory read", "halt", "shutdown", "stopped"]


@dataclass(frozen=True)
class Exit:
    """One return from the guest to its hypervisor.

    ``address`` is a port, or a physical address where the guest has no memory; ``data`` what it wrote there,
    little-endian; a read wants ``size`` bytes.
    """

    reason: Reason
    address: int = 0
    size: int = 0
    data: bytes = b""


#: What a hypervisor does about a port or an address without memory: a read is answered with its bytes.
Handler = Callable[[Exit], bytes]


class Cpu(Protocol):
    """A virtual CPU with its guest's memory: on KVM (:mod:`kit.hypervisors.kvm`) or in software."""

    kind: str

    @property
    def memory(self) -> memoryview:
        """The guest's physical memory, from address 0."""

    def real_mode(self, ip: int) -> None:
        """The state after a reset, 16-bit real mode, with segments at 0 and the next instruction at ``ip``."""

    def long_mode(self, ip: int) -> None:
        """64-bit mode, as :mod:`kit.hypervisors.long_mode` has prepared memory for it."""

    def registers(self) -> dict[str, int]:
        """The general registers, by name."""

    def set(self, values: Mapping[str, int]) -> None:
        """Set some general registers."""

    def run(self, handle: Handler) -> Exit:
        """Let the guest run until it halts, breaks down or is stopped; ``handle`` is told of all else."""

    def stop(self) -> None:
        """From another thread: have :meth:`run` return, now or as soon as it is called."""

    def close(self) -> None:
        """Give everything back."""
