"""Preflight: what can this machine do? Every answer is found by doing the thing once, never from a version or
a file's presence.

Each probe runs in a child process of its own with a time limit, in namespaces and groups that end with it.
"""

from __future__ import annotations

from kit.preflight.catalogue import PROBES
from kit.preflight.examine import examine
from kit.preflight.report import Report
from kit.preflight.row import Finding, Probe, Row

__all__ = ["PROBES", "Finding", "Probe", "Report", "Row", "examine", "report"]


def report() -> Report:
    """Run all probes, a few at a time, and return what they found. Takes a few seconds, most of them for
    booting a kernel."""
    return Report(examine(PROBES))
