"""What is on the machine that could be left behind: taken before and after a test, the two must be equal."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import socket
import struct
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from kit import owner
from kit.linux import forwarding, proc
from kit.linux.spawn import helper_pid

PATIENCE = 5.0  # seconds that the kernel may take to tear down what has been let go


@dataclass(frozen=True)
class Machine:
    """Everything countable: each set holds readable lines."""

    mounts: frozenset[str] = frozenset()
    cgroups: frozenset[str] = frozenset()
    links: frozenset[str] = frozenset()
    packet_rules: frozenset[str] = frozenset()
    forwarding: frozenset[str] = frozenset()
    named_namespaces: frozenset[str] = frozenset()
    loop_devices: frozenset[str] = frozenset()
    processes: frozenset[str] = frozenset()
    files: frozenset[str] = field(default_factory=frozenset)

    def since(self, before: Machine) -> list[str]:
        """What is here and was not before."""
        return [
            f"{kind.rstrip('s')}: {line}"
            for kind in self.__dataclass_fields__
            for line in sorted(getattr(self, kind) - getattr(before, kind))
        ]


def _others() -> tuple[str, ...]:
    """The prefixes of other living programs of the kit: what bears them is not ours to judge."""
    found = []
    mine = owner._journal.prefix if owner._journal else None
    for path in owner.state_directory().glob("kit-*.jsonl"):
        if path.stem == mine:
            continue
        try:
            with path.open() as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            found.append(path.stem)
        except FileNotFoundError:
            continue
    return tuple(found)


def _descendants() -> set[str]:
    helper = helper_pid()
    found = set()
    for process in psutil.Process().children(recursive=True):
        try:
            if process.pid != helper:
                found.add(f"{process.pid} {' '.join(process.cmdline())[:80] or process.name()}")
        except psutil.NoSuchProcess:
            continue
    return found


def _packet_rules() -> set[str]:
    """The kit's names in nftables' IPv4 tables and rules, those of iptables-nft among them.

    Read off the kernel's answers, as it comes much cheaper than understanding them. See netlink(7).
    """
    found = set()
    for number in (0xA01, 0xA07):  # NFT_MSG_GETTABLE, NFT_MSG_GETRULE: dumps are sent as they are fetched
        try:
            sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
        except OSError as error:
            if error.errno == errno.EPROTONOSUPPORT:  # a kernel without nftables has no rules of it
                return set()
            raise
        with sock:
            sock.send(struct.pack("=IHHIIBBH", 20, number, 0x301, 0, 0, socket.AF_INET, 0, 0))
            try:
                while answer := sock.recv(1 << 16, socket.MSG_DONTWAIT):
                    found |= {name.decode() for name in re.findall(rb"kit-[0-9a-f]{6,}", answer)}
            except BlockingIOError:
                continue
    return found


def _forwarding() -> set[str]:
    """Whether the machine is a router, the kit's networks aside; and what we have not let go."""
    noted = Path(forwarding.file_in(owner.state_directory()))  # by the first who switched it on
    value = ""
    with suppress(FileNotFoundError):
        value = noted.read_text()
    value = (value or forwarding.SWITCH.read_text()).strip()
    return {f"ip_forward {value}", *(f"held: {path}" for path in forwarding._held)}


def look() -> Machine:
    """The machine as it is now, without what belongs to other living programs of the kit."""
    others = _others()

    def foreign(text: str) -> bool:
        return any(prefix in text for prefix in others)

    mounts = proc.mountinfo()
    groups = {
        directory
        for root in {m.mount_point for m in mounts if m.fstype in ("cgroup", "cgroup2")}
        for directory, _, _ in os.walk(root)
        if "/kit-" in directory
    }
    temporary = Path(tempfile.gettempdir())
    return Machine(
        mounts=frozenset(m.mount_point for m in mounts if not foreign(m.mount_point)),
        cgroups=frozenset(g for g in groups if not foreign(g)),
        links=frozenset(one for one in os.listdir("/sys/class/net") if not foreign(one)),
        packet_rules=frozenset(one for one in _packet_rules() if not foreign(one)),
        forwarding=frozenset(_forwarding()),
        named_namespaces=frozenset(os.listdir("/run/netns") if os.path.isdir("/run/netns") else []),
        loop_devices=frozenset(str(p) for p in Path("/sys/block").glob("loop*/loop/backing_file")),
        processes=frozenset(_descendants()),
        files=frozenset(str(p) for p in temporary.glob("kit-*") if not foreign(p.name)),
    )


def left_since(before: Machine, patience: float = PATIENCE) -> list[str]:
    """What has been left since ``before``, once the dying have had their time."""
    deadline = time.monotonic() + patience
    while (left := look().since(before)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left
