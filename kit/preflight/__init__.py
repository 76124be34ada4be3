"""Preflight: what can this machine do? Found by doing each thing once, never from a version or a file.

Each probe runs in a child process of its own with a time limit, in namespaces and groups that end with it.
"""

from __future__ import annotations

from kit.preflight.catalogue import PROBES
from kit.preflight.examine import examine
from kit.preflight.report import Report
from kit.preflight.row import Finding, Probe, Row

__all__ = ["PROBES", "Finding", "Probe", "Report", "Row", "examine", "report"]


def report() -> Report:
    """Run all probes, a few at a time. It takes a few seconds, most of them for booting a kernel."""
    return Report(examine(PROBES))
