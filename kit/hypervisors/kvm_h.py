"""What <linux/kvm.h> says, for x86-64: the numbers of the calls, and the structures that go with them.

Names are the header's own. See https://docs.kernel.org/virt/kvm/api.html.
"""

from __future__ import annotations

from ctypes import Structure, Union, c_uint8, c_uint16, c_uint32, c_uint64, sizeof

KVM_API_VERSION = 12


class KvmRegs(Structure):
    """struct kvm_regs: the general registers."""

    _fields_ = [
        (name, c_uint64)
        for name in "rax rbx rcx rdx rsi rdi rsp rbp r8 r9 r10 r11 r12 r13 r14 r15 rip rflags".split()
    ]


class KvmSegment(Structure):
    """struct kvm_segment: a segment register with the descriptor that the processor keeps behind it."""

    _fields_ = [
        ("base", c_uint64), ("limit", c_uint32), ("selector", c_uint16), ("type", c_uint8),
        ("present", c_uint8), ("dpl", c_uint8), ("db", c_uint8), ("s", c_uint8), ("l", c_uint8),
        ("g", c_uint8), ("avl", c_uint8), ("unusable", c_uint8), ("padding", c_uint8),
    ]  # fmt: skip


class KvmDtable(Structure):
    """struct kvm_dtable: where a table of descriptors lies."""

    _fields_ = [("base", c_uint64), ("limit", c_uint16), ("padding", c_uint16 * 3)]


class KvmSregs(Structure):
    """struct kvm_sregs: the registers by which an operating system sets the processor up."""

    _fields_ = [
        *((name, KvmSegment) for name in "cs ds es fs gs ss tr ldt".split()),
        *((name, KvmDtable) for name in ("gdt", "idt")),
        *((name, c_uint64) for name in "cr0 cr2 cr3 cr4 cr8 efer apic_base".split()),
        ("interrupt_bitmap", c_uint64 * 4),
    ]


class KvmUserspaceMemoryRegion(Structure):
    """struct kvm_userspace_memory_region: our memory, and where the guest sees it."""

    _fields_ = [
        ("slot", c_uint32), ("flags", c_uint32), ("guest_phys_addr", c_uint64), ("memory_size", c_uint64),
        ("userspace_addr", c_uint64),
    ]  # fmt: skip


class KvmSignalMask(Structure):
    """struct kvm_signal_mask, with the 8 bytes of a mask behind it."""

    _pack_ = 1
    _fields_ = [("len", c_uint32), ("sigset", c_uint64)]


class _Io(Structure):
    _fields_ = [
        ("direction", c_uint8), ("size", c_uint8), ("port", c_uint16), ("count", c_uint32),
        ("data_offset", c_uint64),
    ]  # fmt: skip


class _Mmio(Structure):
    _fields_ = [("phys_addr", c_uint64), ("data", c_uint8 * 8), ("len", c_uint32), ("is_write", c_uint8)]


class _Exit(Union):
    _fields_ = [("io", _Io), ("mmio", _Mmio), ("hardware_entry_failure_reason", c_uint64)]


class KvmRun(Structure):
    """struct kvm_run: the page through which kernel and hypervisor tell each other why the guest stopped."""

    _anonymous_ = ("exit",)
    _fields_ = [
        ("request_interrupt_window", c_uint8), ("immediate_exit", c_uint8), ("padding1", c_uint8 * 6),
        ("exit_reason", c_uint32), ("ready_for_interrupt_injection", c_uint8), ("if_flag", c_uint8),
        ("flags", c_uint16), ("cr8", c_uint64), ("apic_base", c_uint64), ("exit", _Exit),
    ]  # fmt: skip


KVM_EXIT_IO, KVM_EXIT_HLT, KVM_EXIT_MMIO, KVM_EXIT_SHUTDOWN = 2, 5, 6, 8
KVM_EXIT_FAIL_ENTRY, KVM_EXIT_INTR, KVM_EXIT_INTERNAL_ERROR = 9, 10, 17
KVM_EXIT_IO_IN, KVM_EXIT_IO_OUT = 0, 1

_KVMIO = 0xAE


def _io(number: int) -> int:
    return _KVMIO << 8 | number


def _iow(number: int, what: type[Structure] | int) -> int:
    size = what if isinstance(what, int) else sizeof(what)
    return 1 << 30 | size << 16 | _io(number)


def _ior(number: int, what: type[Structure]) -> int:
    return 2 << 30 | sizeof(what) << 16 | _io(number)


KVM_GET_API_VERSION = _io(0x00)
KVM_CREATE_VM = _io(0x01)
KVM_GET_VCPU_MMAP_SIZE = _io(0x04)
KVM_CREATE_VCPU = _io(0x41)
KVM_SET_USER_MEMORY_REGION = _iow(0x46, KvmUserspaceMemoryRegion)
KVM_RUN = _io(0x80)
KVM_GET_REGS = _ior(0x81, KvmRegs)
KVM_SET_REGS = _iow(0x82, KvmRegs)
KVM_GET_SREGS = _ior(0x83, KvmSregs)
KVM_SET_SREGS = _iow(0x84, KvmSregs)
KVM_SET_SIGNAL_MASK = _iow(0x8B, 4)  # the size of the structure without its flexible array
