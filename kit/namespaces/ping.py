"""Asking a host whether it hears us: ICMP echo. See icmp(7), ping(8)."""

from __future__ import annotations

import ipaddress
import re
import statistics
from dataclasses import dataclass

from kit.linux import spawn
from kit.namespaces.members import HasPid, pid_of
from kit.namespaces.root import static_busybox
from kit.namespaces.shown import Shown
from kit.show import Table

_REPLY = re.compile(r"from (\S+): seq=(\d+) ttl=\d+ time=([\d.]+) ms")


@dataclass(frozen=True)
class Ping(Shown):
    """What came back."""

    source: str
    address: str
    sent: int
    times: tuple[float, ...]
    """Round trips in milliseconds, one for each answer."""
    said: str = ""
    """What ping complained of, for example "Network is unreachable"."""

    @property
    def received(self) -> int:
        """How many answers came."""
        return len(self.times)

    def __bool__(self) -> bool:
        """Whether every request was answered."""
        return self.received == self.sent

    def table(self) -> Table:
        """One row: sent, answered, median round trip."""
        median = f"{statistics.median(self.times):.3f} ms" if self.times else self.said or "no answer"
        columns = ("from", "to", "sent", "answered", "median round trip")
        return Table(
            f"ping from {self.source}",
            columns,
            [(self.source, self.address, self.sent, self.received, median)],
        )


def ping(source: HasPid, address: str, count: int = 3, name: str = "here") -> Ping:
    """Send ``count`` echo requests from the network namespace of ``source``; wait at most 1 s for each
    answer.

    Raises ValueError for something that is no IP address or for a count outside 1..1000, KernelError when
    the source has gone.
    """
    ipaddress.ip_address(address)
    if not 1 <= count <= 1000:
        raise ValueError(f"count is 1 to 1000, not {count}")
    argv = [static_busybox(), "ping", "-A", "-c", str(count), "-W", "1", address]
    result = spawn.run(argv, join={"network": pid_of(source)}, timeout=count + 10)
    times = {int(number): float(time) for _, number, time in _REPLY.findall(result.stdout)}
    said = result.stderr.strip().splitlines()
    return Ping(name, address, count, tuple(times.values()), said[-1] if said else "")
