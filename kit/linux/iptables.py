"""Room for a link where iptables drops what is passed on, as Docker and ufw have it do. See iptables(8).

An accepted packet is still judged by every nftables table. No library serves both kinds of iptables.
"""

from __future__ import annotations

import shutil
import subprocess

from kit.linux.errors import KernelError


def _iptables(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["iptables", "--wait", *words], capture_output=True, text=True)


def _rules(link: str) -> list[tuple[str, ...]]:
    return [("FORWARD", way, link, "-j", "ACCEPT") for way in ("-i", "-o")]


def drops_forwarded() -> bool:
    """Whether iptables is here, and its chain FORWARD ends with DROP."""
    return bool(shutil.which("iptables")) and "-P FORWARD DROP" in _iptables("-S", "FORWARD").stdout


def accepts(link: str) -> bool:
    """Whether one of the rules that `accept` makes is there."""
    return bool(shutil.which("iptables")) and any(not _iptables("-C", *r).returncode for r in _rules(link))


def accept(link: str) -> None:
    """Let packets of this link pass the chain FORWARD. Raises KernelError EPERM, with iptables' own words."""
    for rule in _rules(link):
        if (answer := _iptables("-I", *rule)).returncode:
            raise KernelError(f"accept packets of {link} in iptables' FORWARD", 1, answer.stderr.strip())


def remove(link: str) -> None:
    """Take those rules out again; gone already is fine."""
    while accepts(link):
        for rule in _rules(link):
            _iptables("-D", *rule)
