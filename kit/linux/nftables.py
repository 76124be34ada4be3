"""A table of packet rules of our own, made and removed as one. See nft(8), <linux/netfilter/nf_tables.h>.

A rule is a list of expressions. `when` loads a field of the packet and ends the rule where it doesn't fit,
the last expression says what happens. Tables don't meddle with each other: what one drops is dropped.
"""

from __future__ import annotations

import socket
import struct
from ipaddress import IPv4Address
from typing import Any

from kit.linux.netlink import visit

Rule = list[dict[str, Any]]
Chain = tuple[str, str, int, list[Rule]]
"""Where the kernel asks (a hook), for what (filter or nat), when (a priority, low first), and the rules."""

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


def _expression(name: str, attributes: dict[str, Any]) -> dict[str, Any]:
    data = [(f"NFTA_{name}_{key}".upper(), value) for key, value in attributes.items()]
    return {"attrs": [("NFTA_EXPR_NAME", name), ("NFTA_EXPR_DATA", {"attrs": data})]}


def _value(value: bytes) -> dict[str, Any]:
    return {"attrs": [("NFTA_DATA_VALUE", value)]}


def when(field: str, value: bytes, mask: bytes = b"", is_so: bool = True) -> Rule:
    """The rule goes on where the field, or its bits in ``mask``, has this value (or has not)."""
    name, how = _FIELDS[field]
    rule = [_expression(name, {"dreg": 1, **how})]
    if mask:
        bits = {"len": len(mask), "mask": _value(mask), "xor": _value(bytes(len(mask)))}
        rule.append(_expression("bitwise", {"sreg": 1, "dreg": 1, **bits}))
    return [*rule, _expression("cmp", {"sreg": 1, "op": int(not is_so), "data": _value(value)})]


def _verdict(code: int) -> Rule:
    data = {"attrs": [("NFTA_DATA_VERDICT", {"attrs": [("NFTA_VERDICT_CODE", code)]})]}
    return [_expression("immediate", {"dreg": 0, "data": data})]


DROP, ACCEPT = _verdict(0), _verdict(1)
MASQUERADE = [_expression("masq", {})]  # take the address of the link that it leaves by


def redirect(address: str, port: int) -> Rule:
    """Send the connection to this address and port instead (DNAT)."""
    return [
        _expression("immediate", {"dreg": 1, "data": _value(IPv4Address(address).packed)}),
        _expression("immediate", {"dreg": 2, "data": _value(struct.pack("!H", port))}),
        _expression("nat", {"type": 1, "family": socket.AF_INET, "reg_addr_min": 1, "reg_proto_min": 2}),
    ]


def _commit(changes: list[tuple[str, int, dict[str, Any]]]) -> None:
    from pyroute2.netlink import NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_REQUEST
    from pyroute2.netlink.nfnetlink import NFNL_SUBSYS_NFTABLES, nfgen_msg, nftsocket

    begin, end = nfgen_msg(), nfgen_msg()
    for bracket, number in ((begin, 16), (end, 17)):  # NFNL_MSG_BATCH_BEGIN and _END
        bracket["res_id"] = NFNL_SUBSYS_NFTABLES
        bracket["header"] = {"type": number, "flags": NLM_F_REQUEST}
    messages = []
    for kind, number, attributes in changes:
        message = getattr(nftsocket, f"nft_{kind}_msg")()
        message["attrs"] = [(message.name2nla(name), value) for name, value in attributes.items()]
        message["header"]["type"] = NFNL_SUBSYS_NFTABLES << 8 | number
        message["header"]["flags"] = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_APPEND | NLM_F_ACK
        message["nfgen_family"] = socket.AF_INET
        messages.append(message)
    with nftsocket.NFTSocket() as nft:
        nft.nlm_request_batch([begin, *messages, end])


def _tables() -> list[str]:
    from pyroute2.nftables.main import NFTables

    with NFTables() as nft:
        return [table.get_attr("NFTA_TABLE_NAME") for table in nft.get_tables()]


def table_exists(name: str, netns: str | None = None) -> bool:
    """Whether there is an IPv4 table of this name, here or in the network namespace at a path.

    Raises KernelError: EPERM, or EINVAL where the kernel has no tables; a transaction would get no answer
    there, so ask this before the first.
    """
    return name in visit("list the tables of packet rules", _tables, netns)


def add_table(name: str, chains: list[Chain], netns: str | None = None) -> None:
    """Make a table with all its chains and rules, at once or not at all."""
    changes: list[tuple[str, int, dict[str, Any]]] = [("table", 0, {"name": name})]
    for hook, kind, priority, rules in chains:
        number = ("prerouting", "input", "forward", "output", "postrouting").index(hook)
        where = {"attrs": [("NFTA_HOOK_HOOKNUM", number), ("NFTA_HOOK_PRIORITY", priority)]}
        chain = f"{hook}{priority}"
        changes.append(("chain", 3, {"table": name, "name": chain, "hook": where, "type": kind}))
        changes += [("rule", 6, {"table": name, "chain": chain, "expressions": rule}) for rule in rules]
    visit(f"make the table {name} of packet rules", lambda: _commit(changes), netns)


def remove_table(name: str, netns: str | None = None) -> None:
    """Remove a table with all that is in it; gone already is fine."""
    if table_exists(name, netns):
        change = ("table", 2, {"name": name})
        visit(f"remove the table {name} of packet rules", lambda: _commit([change]), netns)
