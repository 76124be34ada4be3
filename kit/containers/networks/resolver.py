"""The name server inside a container, at 127.0.0.11: names of its networks, the rest from the machine's own.

See resolv.conf(5), RFC 1035. Its sockets were opened in the container's network namespace; whoever reads them
does so from outside, with the machine's name servers at hand.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import socket
import struct
import threading
from collections.abc import Callable, Coroutine, Sequence
from contextlib import closing, suppress
from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kit.linux.netlink import visit
from kit.linux.nftables import Rule, add_table, redirect, remove_table, when

if TYPE_CHECKING:
    from kit.containers.networks.network import Network

ADDRESS = "127.0.0.11"
TABLE = "kit-names"  # in the container's network namespace
RESOLV_CONF = "/etc/resolv.conf"
TTL = 10  # seconds: a container may get another address at its next start
PATIENCE = 3.0  # seconds for the machine's name server, and for a client to send its question
CROWD = 200  # questions of one container at the same time; more are dropped

_loop: asyncio.AbstractEventLoop | None = None
_lock = threading.Lock()


def _run(work: Coroutine[Any, Any, Any]) -> None:
    """Do it in the thread that serves all resolvers, begun at the first use."""
    global _loop
    with _lock:
        if _loop is None:
            _loop = asyncio.new_event_loop()
            threading.Thread(target=_loop.run_forever, name="name server", daemon=True).start()
    asyncio.run_coroutine_threadsafe(work, _loop).result()


def upstreams() -> list[str]:
    """The machine's own name servers, at most three as in resolv.conf(5)."""
    text = Path(RESOLV_CONF).read_text() if os.path.exists(RESOLV_CONF) else ""
    return re.findall(r"^nameserver\s+(\S+)", text, re.MULTILINE)[:3]


def _sockets() -> tuple[socket.socket, socket.socket]:
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind((ADDRESS, 0))
    return udp, socket.create_server((ADDRESS, 0))


def _led_here(sock: socket.socket, protocol: int) -> Rule:
    """Port 53 of 127.0.0.11 is this socket: 53 itself must stay free for a name server in the container."""
    to = when("daddr", IPv4Address(ADDRESS).packed) + when("l4proto", bytes([protocol]))
    return to + when("dport", struct.pack("!H", 53)) + redirect(*sock.getsockname())


class Resolver(asyncio.DatagramProtocol):
    """Answers a container's questions, who is at ``netns``; ``networks`` tells which ones it is on now."""

    def __init__(self, networks: Callable[[], Sequence[Network]], netns: str) -> None:
        self._networks, self._netns = networks, netns
        self._tasks: set[asyncio.Task[None]] = set()
        udp, tcp = visit("open the name server's sockets", _sockets, netns)
        rules = [_led_here(udp, socket.IPPROTO_UDP), _led_here(tcp, socket.IPPROTO_TCP)]
        add_table(TABLE, [("output", "nat", -100, rules)], netns)
        _run(self._open(udp, tcp))

    async def _open(self, udp: socket.socket, tcp: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        self._udp, _ = await loop.create_datagram_endpoint(lambda: self, sock=udp)
        self._tcp = await asyncio.start_server(self._came, sock=tcp)

    def close(self, ended: bool) -> None:
        """Close the sockets; take the rule back unless the container has ended."""
        _run(self._close())
        if not ended:
            remove_table(TABLE, self._netns)

    async def _close(self) -> None:
        self._udp.close()
        self._tcp.close()
        for task in self._tasks:
            task.cancel()

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def datagram_received(self, question: bytes, client: Any) -> None:
        """A question by UDP: see asyncio.DatagramProtocol."""
        if len(self._tasks) < CROWD:
            self._begin(self._reply(question, client))

    async def _reply(self, question: bytes, client: Any) -> None:
        if answer := await self._answer(question, 512):
            self._udp.sendto(answer, client)

    def _came(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._tasks) < CROWD:
            self._begin(self._talk(reader, writer))
        else:
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Questions by TCP, each after its length, until there are no more or one takes too long."""
        with suppress(OSError, asyncio.IncompleteReadError), closing(writer):
            while True:
                async with asyncio.timeout(2 * PATIENCE):
                    size = int.from_bytes(await reader.readexactly(2), "big")
                    answer = await self._answer(await reader.readexactly(size), 65535)
                    writer.write(len(answer).to_bytes(2, "big") + answer)
                    await writer.drain()

    async def _answer(self, question: bytes, room: int) -> bytes:
        """The answer to a question, in ``room`` bytes unless it offers more; nothing to what is none."""
        from dns import exception, message, rcode, rdatatype, rrset

        try:
            query = message.from_wire(question)
            answer = message.make_response(query, recursion_available=True)
            (asked,) = query.question
        except (exception.DNSException, ValueError):
            return b""
        found = self._look_up(asked.name, rdatatype.to_text(asked.rdtype))
        if found:
            answer.answer = [rrset.from_text(asked.name, TTL, "IN", asked.rdtype, *found)]
        elif found is None:
            answer.set_rcode(rcode.SERVFAIL)
            answer = await self._ask_others(query, room) or answer
        return bytes(answer.to_wire(max_size=max(query.payload, room), prefer_truncation=True))

    def _look_up(self, asked: Any, kind: str) -> list[str] | None:
        """What we know of a name; nothing of that kind is an empty list, None means that we don't know it."""
        from dns import reversename

        name = asked.to_text().rstrip(".").lower()
        found = []
        for network in self._networks():
            for endpoint in network.endpoints if network.resolves else ():
                names = {*endpoint.names, *(f"{its}.{network.name.lower()}" for its in endpoint.names)}
                if kind == "PTR" and names and asked == reversename.from_address(endpoint.ip):
                    found.append(f"{endpoint.names[0]}.{network.name}.")
                elif name in names:
                    found.append(endpoint.ip)
        random.shuffle(found)  # so that those who share a name share the work
        return None if not found else found if kind in ("A", "PTR") else []

    async def _ask_others(self, query: Any, room: int) -> Any:
        """The answer of one of the machine's name servers; None where none answers, or none may be asked."""
        from dns import asyncquery, exception

        ask = asyncquery.udp if room == 512 else asyncquery.tcp
        for server in [] if all(network.internal for network in self._networks()) else upstreams():
            with suppress(OSError, ValueError, exception.DNSException):
                return await ask(query, server, timeout=PATIENCE)
        return None
