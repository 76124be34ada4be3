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
from collections.abc import Coroutine, Sequence
from contextlib import closing, suppress
from ipaddress import IPv4Address
from pathlib import Path
from socket import IPPROTO_TCP, IPPROTO_UDP
from typing import TYPE_CHECKING, Any

from kit.linux.nftables import Rule, add_table, redirect, remove_table, when

if TYPE_CHECKING:
    from kit.containers.networks.network import Endpoint

ADDRESS = "127.0.0.11"
TABLE = "kit-names"  # in the container's network namespace
RESOLV_CONF = "/etc/resolv.conf"
TTL = 10  # seconds: a container may get another address at its next start
PATIENCE = 3.0  # seconds for the machine's name server, and for a client to send its question
LONGEST = 512  # bytes of a question: a name has 255; what is cut off is no question any more
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


def _led_here(sock: socket.socket, protocol: int) -> Rule:
    """Port 53 of 127.0.0.11 is this socket: 53 itself must stay free for a name server in the container."""
    to = when("daddr", IPv4Address(ADDRESS).packed) + when("l4proto", bytes([protocol]))
    return to + when("dport", struct.pack("!H", 53)) + redirect(*sock.getsockname())


class Resolver(asyncio.DatagramProtocol):
    """Answers the questions of a container, in whose network namespace it is made; see its ``endpoints``."""

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        self._endpoints = endpoints
        self._tasks: set[asyncio.Task[None]] = set()
        self._sockets = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.create_server((ADDRESS, 0))
        self._sockets[0].bind((ADDRESS, 0))
        rules = [_led_here(*each) for each in zip(self._sockets, (IPPROTO_UDP, IPPROTO_TCP), strict=True)]
        add_table(TABLE, [("output", "nat", -100, rules)])

    def serve(self) -> None:
        """Begin, called from outside: a thread stays in the network namespace of the one that starts it."""
        _run(self._open(*self._sockets))

    async def _open(self, udp: socket.socket, tcp: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        self._udp, _ = await loop.create_datagram_endpoint(lambda: self, sock=udp)
        self._tcp = await asyncio.start_server(self._came, sock=tcp)

    def remove_rules(self) -> None:
        """Take back what leads questions here, in the container's network namespace again."""
        remove_table(TABLE)

    def close(self) -> None:
        """Close the sockets, and let those go whose questions are under way."""
        _run(self._close())

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
                    if not (answer := await self._answer(await reader.readexactly(size), 65535)):
                        return
                    writer.write(len(answer).to_bytes(2, "big") + answer)
                    await writer.drain()

    async def _answer(self, question: bytes, room: int) -> bytes:
        """The answer to a question, in ``room`` bytes unless it offers more; nothing to what is none."""
        from dns import exception, message, rcode, rdatatype, rrset

        try:
            query = message.from_wire(question[:LONGEST])
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
        for network in [here.network for here in self._endpoints]:
            for endpoint in network.endpoints if network.resolves else ():
                names = {*endpoint.names, *(f"{its}.{network.name.lower()}" for its in endpoint.names)}
                if kind == "PTR" and names and asked == reversename.from_address(endpoint.ip):
                    found.append(f"{endpoint.names[0]}.{network.name}.")
                elif name in names:
                    found.append(endpoint.ip)
        random.shuffle(found)  # so that those who share a name share the work
        return None if not found else found if kind in ("A", "PTR") else []

    async def _ask_others(self, query: Any, room: int) -> Any:
        """The answer of a name server outside; None where none answers, or none may be asked."""
        from dns import asyncquery, exception

        if all(here.network.internal for here in self._endpoints):
            return None
        ask = asyncquery.udp if room == 512 else asyncquery.tcp
        for server in [one for here in self._endpoints for one in here.upstreams] or upstreams():
            with suppress(OSError, ValueError, exception.DNSException):
                return await ask(query, server, timeout=PATIENCE)
        return None
