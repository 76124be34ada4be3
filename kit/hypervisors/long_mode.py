"""64-bit mode: what an operating system prepares before it can enter it.

The processor then sees memory through page tables, which lie in memory themselves: four levels, of which the
third maps 2 MiB at once here. See Intel's manual, volume 3, "4-level paging" and "IA-32e mode".
"""

from __future__ import annotations

import struct

PML4, PDPT, PD = 0x1000, 0x2000, 0x3000  # where the three tables lie
MAPPED = 1 << 30  # bytes that they map: all addresses below lead to themselves
PRESENT, WRITABLE, HUGE = 1 << 0, 1 << 1, 1 << 7

# Protection and paging on; physical address extension; long mode enabled and active.
CR0, CR3, CR4, EFER = 1 << 0 | 1 << 31, PML4, 1 << 5, 1 << 8 | 1 << 10

#: Segments, as the processor keeps them: from 0 to the end, code that can be read, data that can be written.
CODE = {"base": 0, "limit": 0xFFFFFFFF, "selector": 8, "type": 11, "present": 1, "s": 1, "l": 1, "g": 1}
DATA = {"base": 0, "limit": 0xFFFFFFFF, "selector": 16, "type": 3, "present": 1, "s": 1, "db": 1, "g": 1}


def page_tables(memory: memoryview) -> None:
    """Write the tables into a guest's memory."""
    entries = [(PML4, PDPT), (PDPT, PD)]
    entries += [(PD + 8 * i, i << 21 | HUGE) for i in range(MAPPED >> 21)]
    for place, target in entries:
        struct.pack_into("<Q", memory, place, target | PRESENT | WRITABLE)
