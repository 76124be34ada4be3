"""A table of packet rules of our own, made and removed as one. See nft(8), <linux/netfilter/nf_tables.h>.

A rule is a list of expressions. `when` loads a field of the packet and ends the rule where it doesn't fit,
the last expression says what happens. Tables don't meddle with each other: what one drops is dropped.
"""

from __future__ import annotations

import socket
import struct
from contextlib import suppress
from ipaddress import IPv4Address
from typing import Any

from kit.linux.netlink import APPEND, NETFILTER, Request, ask, attributes, trying

Rule = list[dict[str, Any]]
Chain = tuple[str, str, int, list[Rule]]
"""Where the kernel asks (a hook), for what (filter or nat), when (a priority, low first), and the rules."""

NFTABLES = 10  # NFNL_SUBSYSNFTABLES

#: Fields of a packet, as nft(8) names them, with the expression that loads each.
_FIELDS: dict[str, tuple[str, dict[str, Any]]] = {
    "iifname": ("meta", {"key": 6}),
    "oifname": ("meta", {"key": 7}),
    "l4proto": ("meta", {"key": 16}),
    "saddr": ("payload", {"base": 1, "offset": 12, "len": 4}),
    "daddr": ("payload", {"base": 1, "offset": 16, "len": 4}),
    "dport": ("payload", {"base": 2, "offset": 2, "len": 2}),
    "ct state": ("ct", {"key": 0}),
    "ct status": ("ct", {"key": 2}),
    # NFT_FIB_RESULT_ADDRTYPE is 3; pyroute2 takes the field for flags, of which these two are bits 0 and 1.
    "fib daddr type": ("fib", {"flags": 2, "result": {"NFT_FIB_RESULT_UNSPEC", "NFT_FIB_RESULT_OIF"}}),
}


def _expression(kind: str, **values: Any) -> dict[str, Any]:
    return attributes("NFTA_EXPR", name=kind, data=attributes(f"NFTA_{kind}", **values))


def _value(value: bytes) -> dict[str, Any]:
    return attributes("NFTA_DATA", value=value)


def when(field: str, value: bytes, mask: bytes = b"", is_so: bool = True) -> Rule:
    """The rule goes on where the field, or its bits in ``mask``, has this value (or has not)."""
    name, how = _FIELDS[field]
    rule = [_expression(name, dreg=1, **how)]
    if mask:
        bits = {"len": len(mask), "mask": _value(mask), "xor": _value(bytes(len(mask)))}
        rule.append(_expression("bitwise", sreg=1, dreg=1, **bits))
    return [*rule, _expression("cmp", sreg=1, op=int(not is_so), data=_value(value))]


def _verdict(code: int) -> Rule:
    verdict = attributes("NFTA_DATA", verdict=attributes("NFTA_VERDICT", code=code))
    return [_expression("immediate", dreg=0, data=verdict)]


DROP, ACCEPT = _verdict(0), _verdict(1)
MASQUERADE = [_expression("masq")]  # take the address of the link that it leaves by


def redirect(address: str, port: int) -> Rule:
    """Send the connection to this address and port instead (DNAT)."""
    return [
        _expression("immediate", dreg=1, data=_value(IPv4Address(address).packed)),
        _expression("immediate", dreg=2, data=_value(struct.pack("!H", port))),
        _expression("nat", type=1, family=socket.AF_INET, reg_addr_min=1, reg_proto_min=2),
    ]


def _message(kind: str, number: int, **values: Any) -> Request:
    form, value = f"nfnetlink.nftsocket:nft_{kind}_msg", attributes(f"NFTA_{kind}", **values)
    return form, NFTABLES << 8 | number, APPEND, {"nfgen_family": socket.AF_INET} | value


def _commit(*changes: Request) -> None:
    """All of them, or none."""
    begin, end = (("nfnetlink:nfgen_msg", number, 0, {"res_id": NFTABLES}) for number in (16, 17))
    ask(NETFILTER, begin, *changes, end)


def table_exists(name: str) -> bool:
    """Whether there is an IPv4 table of this name. Raises KernelError EPERM, or EINVAL without nftables."""
    found = []
    with trying(f"look for the table {name} of packet rules"), suppress(FileNotFoundError):
        found = ask(NETFILTER, _message("table", 1, name=name))
    return bool(found)


def add_table(name: str, chains: list[Chain]) -> None:
    """Make a table with all its chains and rules. Raises KernelError EPERM, EOPNOTSUPP without nftables."""
    changes = [_message("table", 0, name=name)]
    for hook, kind, priority, rules in chains:
        number = ("prerouting", "input", "forward", "output", "postrouting").index(hook)
        where, chain = attributes("NFTA_HOOK", hooknum=number, priority=priority), f"{hook}{priority}"
        changes.append(_message("chain", 3, table=name, name=chain, hook=where, type=kind))
        changes += [_message("rule", 6, table=name, chain=chain, expressions=rule) for rule in rules]
    with trying(f"make the table {name} of packet rules"):
        _commit(*changes)


def remove_table(name: str) -> None:
    """Remove a table with all that is in it; gone already is fine. Raises KernelError EPERM."""
    with trying(f"remove the table {name} of packet rules"), suppress(FileNotFoundError):
        _commit(_message("table", 2, name=name))
