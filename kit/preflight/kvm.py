"""Does /dev/kvm really run a guest, and at the processor's own speed?

A guest in 64-bit mode counts down in its kernel mode (ring 0) and halts. Where KVM itself runs inside a
virtual machine it may emulate that mode, one instruction at a time: the device opens and small guests run,
but no operating system ever finishes booting. So the speed is part of the answer.
See https://docs.kernel.org/virt/kvm/api.html.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import struct
import time
from fcntl import ioctl

from kit.preflight.row import Finding

# <linux/kvm.h>
KVM_API_VERSION = 12
KVM_GET_API_VERSION = 0xAE00
KVM_CREATE_VM = 0xAE01
KVM_GET_VCPU_MMAP_SIZE = 0xAE04
KVM_CREATE_VCPU = 0xAE41
KVM_SET_USER_MEMORY_REGION = 0x4020AE46
KVM_RUN = 0xAE80
KVM_SET_REGS = 0x4090AE82
KVM_GET_SREGS = 0x8138AE83
KVM_SET_SREGS = 0x4138AE84
KVM_EXIT_HLT = 5

# Intel's and AMD's manuals, volume "system programming"
CR0_PE, CR0_PG, CR4_PAE = 1 << 0, 1 << 31, 1 << 5
EFER_LME, EFER_LMA = 1 << 8, 1 << 10
PRESENT, WRITABLE, HUGE = 1, 2, 1 << 7
RFLAGS_RESERVED = 1 << 1  # always reads as 1

MEMORY = 2 << 20  # bytes: one huge page
PML4, PDPT, PD, CODE = 0x1000, 0x2000, 0x3000, 0x8000
COUNTDOWN = bytes.fromhex("ffc9 75fc f4")  # again: dec ecx; jnz again; hlt
ITERATIONS = 20_000
#: Iterations per second. A processor that runs the guest itself does hundreds of millions, an emulation under
#: two millions.
NATIVE = 10_000_000


class Guest:
    """A virtual machine with one virtual CPU and 2 MiB of memory, put straight into 64-bit mode."""

    def __init__(self, kvm: int) -> None:
        self.vm = ioctl(kvm, KVM_CREATE_VM, 0)
        self.memory = mmap.mmap(-1, MEMORY)
        address = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        # struct kvm_userspace_memory_region: slot, flags, guest_phys_addr, memory_size, userspace_addr
        ioctl(self.vm, KVM_SET_USER_MEMORY_REGION, struct.pack("=IIQQQ", 0, 0, 0, MEMORY, address))
        self.cpu = ioctl(self.vm, KVM_CREATE_VCPU, 0)
        self.run_page = mmap.mmap(self.cpu, ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE))
        self._long_mode()

    def _long_mode(self) -> None:
        # Page tables: each level's first entry leads to the next; the last maps 2 MiB from 0 onto themselves.
        for table, entry in ((PML4, PDPT), (PDPT, PD), (PD, HUGE)):
            self.memory[table : table + 8] = struct.pack("=Q", entry | PRESENT | WRITABLE)
        sregs = bytearray(
            312
        )  # struct kvm_sregs: cs ds es fs gs ss tr ldt, gdt idt, cr0 cr2 cr3 cr4 cr8 efer ...
        ioctl(self.cpu, KVM_GET_SREGS, sregs)
        # struct kvm_segment: base, limit, selector, type, present, dpl, db, s, l, g, avl, unusable, padding
        code = struct.pack("=QIH10B", 0, 0xFFFFFFFF, 8, 11, 1, 0, 0, 1, 1, 1, 0, 0, 0)
        data = struct.pack("=QIH10B", 0, 0xFFFFFFFF, 16, 3, 1, 0, 1, 1, 0, 1, 0, 0, 0)
        sregs[0:144] = code + data * 5
        struct.pack_into("=QQQQQQ", sregs, 224, CR0_PE | CR0_PG, 0, PML4, CR4_PAE, 0, EFER_LME | EFER_LMA)
        ioctl(self.cpu, KVM_SET_SREGS, bytes(sregs))

    def run(self, code: bytes, count: int) -> tuple[int, float]:
        """Run ``code`` with ``count`` in rcx until the guest exits: the exit reason and the seconds."""
        self.memory[CODE : CODE + len(code)] = code
        # struct kvm_regs: rax rbx rcx rdx rsi rdi rsp rbp r8..r15 rip rflags
        ioctl(self.cpu, KVM_SET_REGS, struct.pack("=18Q", 0, 0, count, *[0] * 13, CODE, RFLAGS_RESERVED))
        begin = time.perf_counter()
        ioctl(self.cpu, KVM_RUN, 0)
        seconds = time.perf_counter() - begin
        (reason,) = struct.unpack_from("=I", self.run_page, 8)  # struct kvm_run: exit_reason
        return reason, seconds


def kvm() -> Finding:
    """Run the guest twice (the first run also pays for page faults) and judge the second by its speed."""
    if os.uname().machine != "x86_64":
        return Finding(
            "no", f"the course's own hypervisor speaks x86-64, and this machine is {os.uname().machine}"
        )
    try:
        device = os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC)
    except PermissionError:
        return Finding(
            "no",
            "/dev/kvm is there, but this user may not open it",
            "sudo usermod -aG kvm $USER, then log in again",
        )
    except OSError as error:
        return Finding("no", f"/dev/kvm does not open: {error.strerror}")
    version = ioctl(device, KVM_GET_API_VERSION)
    if version != KVM_API_VERSION:
        return Finding("no", f"/dev/kvm speaks version {version} of its interface, not {KVM_API_VERSION}")
    guest = Guest(device)
    for _ in range(2):
        reason, seconds = guest.run(COUNTDOWN, ITERATIONS)
        if reason != KVM_EXIT_HLT:
            return Finding(
                "no", f"the guest should have halted, but KVM_RUN came back with exit reason {reason}"
            )
    rate = ITERATIONS / seconds
    told = (
        f"a 64-bit guest counted down {ITERATIONS:,} times in its kernel mode in {seconds * 1000:.2f} ms "
        f"({_figure(rate)} per second)"
    )
    if rate < NATIVE:
        return Finding(
            "partly",
            f"opens and runs, but emulated slowly: {told}; an operating system would not finish booting",
            "The machine under this one emulates instead of virtualizing. Chapter 01 runs its small guests "
            "on it all the same, and the large ones on a software CPU",
        )
    return Finding("yes", f"{told}: the processor's own speed")


def _figure(rate: float) -> str:
    return f"{rate / 1e6:.1f} million" if rate < 1e8 else f"{rate / 1e6:.0f} million"
