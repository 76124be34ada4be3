"""The devices of a tiny machine: where a PC has its serial line, and a clock."""

from __future__ import annotations

import time

NOWHERE = range(0)


class Console:
    """What is written to the first serial port, byte by byte; ``text`` is all of it so far."""

    addresses = NOWHERE

    def __init__(self, port: int = 0x3F8) -> None:
        self.ports = range(port, port + 1)
        self.text = ""

    def write(self, place: int, data: bytes) -> None:
        self.text += data.decode("latin-1")

    def read(self, place: int, size: int) -> bytes:
        return bytes(size)  # nobody types

    def __repr__(self) -> str:
        return f"Console({self.ports[0]:#x})"


class Timer:
    """A clock: whoever reads the address gets the microseconds since the machine was made."""

    ports = NOWHERE

    def __init__(self, address: int = 0x1000_0000) -> None:
        self.addresses = range(address, address + 8)
        self._begin = time.monotonic_ns()

    def write(self, place: int, data: bytes) -> None:
        self._begin = time.monotonic_ns()  # whatever is written sets it to 0

    def read(self, place: int, size: int) -> bytes:
        now = (time.monotonic_ns() - self._begin) // 1000
        at = place - self.addresses[0]
        return now.to_bytes(8, "little")[at : at + size]

    def __repr__(self) -> str:
        return f"Timer({self.addresses[0]:#x})"
