"""Hypervisors: one in a few files, on /dev/kvm or on a software CPU; and Linux machines under QEMU."""

from __future__ import annotations

from kit.hypervisors.assembly import Program, assemble
from kit.hypervisors.devices import Console, Timer
from kit.hypervisors.machine import Machine, Run

__all__ = ["Console", "Machine", "Program", "Run", "Timer", "assemble"]
