"""A virtual CPU in software: Unicorn, which is QEMU's translator as a library.

The same interface as on KVM, for where there is no /dev/kvm, or none that really runs. Each block of the
guest's instructions is translated into the host's and kept. See https://www.unicorn-engine.org.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Mapping
from typing import Any

from kit.hypervisors.exits import Exit, Handler
from kit.hypervisors.long_mode import CR0, CR3, CR4, EFER, MAPPED

_HLT = 0xF4
_MSR_EFER = 0xC0000080
_NAMES = "rax rbx rcx rdx rsi rdi rsp rbp rip rflags r8 r9 r10 r11 r12 r13 r14 r15".split()
_IN_REAL_MODE = 10  # of them there are, and Unicorn calls them eax, ebx, ...


class SoftwareCpu:
    """One virtual machine with one virtual CPU and ``memory`` bytes from address 0."""

    kind = "software CPU"

    def __init__(self, memory: int) -> None:
        self._memory = mmap.mmap(-1, memory)
        self._stopped = False
        self._made: Any = None

    @property
    def memory(self) -> memoryview:
        return memoryview(self._memory)

    def _make(self, mode: int, ip: int, names: Mapping[str, str]) -> None:
        import unicorn

        where = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        self._made = unicorn.Uc(unicorn.UC_ARCH_X86, mode)
        self._made.mem_map_ptr(0, len(self._memory), unicorn.UC_PROT_ALL, where)
        constants = unicorn.x86_const
        self._numbers = {one: getattr(constants, f"UC_X86_REG_{its.upper()}") for one, its in names.items()}
        self._ip = ip

    def real_mode(self, ip: int) -> None:
        from unicorn import UC_MODE_16

        self._make(UC_MODE_16, ip, {name: "e" + name[1:] for name in _NAMES[:_IN_REAL_MODE]})

    def long_mode(self, ip: int) -> None:
        from unicorn import UC_MODE_64

        self._make(UC_MODE_64, ip, {name: name for name in (*_NAMES, "cr0", "cr3", "cr4")})
        self._made.msr_write(_MSR_EFER, EFER)
        self._write({"cr3": CR3, "cr4": CR4, "cr0": CR0, "rsp": len(self._memory)})

    def registers(self) -> dict[str, int]:
        numbers = {name: self._numbers[name] for name in _NAMES if name in self._numbers}
        return {name: self._made.reg_read(number) for name, number in numbers.items()} | {"rip": self._ip}

    def set(self, values: Mapping[str, int]) -> None:
        self._ip = values.get("rip", self._ip)
        self._write(values)

    def _write(self, values: Mapping[str, int]) -> None:
        for name, value in values.items():
            self._made.reg_write(self._numbers[name], value)

    def run(self, handle: Handler) -> Exit:
        from unicorn import UC_HOOK_INSN, UcError
        from unicorn.x86_const import UC_X86_INS_IN, UC_X86_INS_OUT

        uc, end = self._made, len(self._memory)

        def port_out(_: Any, port: int, size: int, value: int, __: Any) -> None:
            handle(Exit("port out", port, size, value.to_bytes(8, "little")[:size]))

        def port_in(_: Any, port: int, size: int, __: Any) -> int:
            return int.from_bytes(handle(Exit("port in", port, size)), "little")

        def write(_: Any, offset: int, size: int, value: int, __: Any) -> None:
            handle(Exit("memory write", end + offset, size, value.to_bytes(8, "little")[:size]))

        def read(_: Any, offset: int, size: int, __: Any) -> int:
            return int.from_bytes(handle(Exit("memory read", end + offset, size)), "little")

        hooks = [
            uc.hook_add(UC_HOOK_INSN, port_out, None, 1, 0, UC_X86_INS_OUT),
            uc.hook_add(UC_HOOK_INSN, port_in, None, 1, 0, UC_X86_INS_IN),
        ]
        uc.ctl_flush_tb()  # what has been translated may have been overwritten meanwhile
        uc.mmio_map(end, MAPPED - end, read, None, write, None)
        try:
            uc.emu_start(self._ip, MAPPED)
        except UcError:  # an exception that the guest has no table for, or whose handler fails as well
            return Exit("shutdown")
        finally:
            self._ip = uc.reg_read(self._numbers["rip"])
            uc.mem_unmap(end, MAPPED - end)
            for hook in hooks:
                uc.hook_del(hook)
        if self._stopped:
            self._stopped = False
            return Exit("stopped")
        return Exit("halt" if self._memory[self._ip - 1] == _HLT else "shutdown")

    def stop(self) -> None:
        self._stopped = True
        self._made.emu_stop()

    def close(self) -> None:
        self._made = None

