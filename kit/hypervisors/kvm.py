"""A virtual CPU on /dev/kvm: Linux as the hypervisor's other half, by ioctl(2) and mmap(2).

Three descriptors: the system (/dev/kvm), a virtual machine (an address space of its own) and a virtual CPU,
which is a thread of ours that enters the guest by KVM_RUN. See https://docs.kernel.org/virt/kvm/api.html.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
import sys
import threading
from collections.abc import Mapping
from contextlib import ExitStack
from errno import EACCES, EINTR
from fcntl import ioctl
from functools import cache

from kit.hypervisors import kvm_h as k
from kit.hypervisors.exits import Exit, Handler
from kit.hypervisors.long_mode import CODE, CR0, CR3, CR4, DATA, EFER
from kit.linux.errors import KernelError
from kit.linux.spawn import run

_RESERVED = 1 << 1  # of RFLAGS: always reads as 1
_STOP = signal.SIGUSR1


class KvmCpu:
    """One virtual machine with one virtual CPU and ``memory`` bytes from address 0."""

    kind = "KVM"

    def __init__(self, memory: int) -> None:
        with ExitStack() as cleanup:
            system = _open()
            cleanup.callback(os.close, system)
            self._vm = ioctl(system, k.KVM_CREATE_VM, 0)
            cleanup.callback(os.close, self._vm)
            self._memory = mmap.mmap(-1, memory)  # ours, and from here on the guest's
            where = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
            ioctl(self._vm, k.KVM_SET_USER_MEMORY_REGION, k.KvmUserspaceMemoryRegion(0, 0, 0, memory, where))
            self._cpu = ioctl(self._vm, k.KVM_CREATE_VCPU, 0)
            cleanup.callback(os.close, self._cpu)
            self._page = mmap.mmap(self._cpu, ioctl(system, k.KVM_GET_VCPU_MMAP_SIZE))
            self._run = k.KvmRun.from_buffer(self._page)
            # A signal that is blocked everywhere but in the guest only ever ends a KVM_RUN.
            ioctl(self._cpu, k.KVM_SET_SIGNAL_MASK, k.KvmSignalMask(8, 0))
            self._cleanup = cleanup.pop_all()
        self._thread: int | None = None
        self._lock = threading.Lock()

    @property
    def memory(self) -> memoryview:
        return memoryview(self._memory)

    def real_mode(self, ip: int) -> None:
        sregs = self._sregs()
        for name in ("cs", "ds", "es", "ss"):
            segment = getattr(sregs, name)
            segment.base = segment.selector = 0
        ioctl(self._cpu, k.KVM_SET_SREGS, sregs)
        self._set(k.KvmRegs(rip=ip, rflags=_RESERVED))

    def long_mode(self, ip: int) -> None:
        sregs = self._sregs()
        sregs.cs = k.KvmSegment(**CODE)
        for name in ("ds", "es", "fs", "gs", "ss"):
            setattr(sregs, name, k.KvmSegment(**DATA))
        sregs.cr0, sregs.cr3, sregs.cr4, sregs.efer = CR0, CR3, CR4, EFER
        ioctl(self._cpu, k.KVM_SET_SREGS, sregs)
        self._set(k.KvmRegs(rip=ip, rsp=len(self._memory), rflags=_RESERVED))

    def registers(self) -> dict[str, int]:
        regs = k.KvmRegs()
        ioctl(self._cpu, k.KVM_GET_REGS, regs)
        return {name: getattr(regs, name) for name, _ in regs._fields_}

    def set(self, values: Mapping[str, int]) -> None:
        self._set(k.KvmRegs(**{**self.registers(), **values}))

    def _set(self, regs: k.KvmRegs) -> None:
        ioctl(self._cpu, k.KVM_SET_REGS, regs)

    def _sregs(self) -> k.KvmSregs:
        sregs = k.KvmSregs()
        ioctl(self._cpu, k.KVM_GET_SREGS, sregs)
        return sregs

    def run(self, handle: Handler) -> Exit:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {_STOP})
        with self._lock:
            self._thread = threading.get_ident()
        try:
            while True:
                ioctl(self._cpu, k.KVM_RUN, 0)
                if ended := self._serve(handle):
                    return ended
        except OSError as error:
            if error.errno != EINTR:
                raise
            self._run.immediate_exit = 0
            return Exit("stopped")
        finally:
            with self._lock:
                self._thread = None
            signal.sigtimedwait({_STOP}, 0)
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _serve(self, handle: Handler) -> Exit | None:
        """Do what the guest has stopped for, as the kernel has put it into the page that it shares with us."""
        run = self._run
        match run.exit_reason:
            case k.KVM_EXIT_IO:
                begin, size = run.io.data_offset, run.io.size * run.io.count
                if run.io.direction == k.KVM_EXIT_IO_OUT:
                    handle(Exit("port out", run.io.port, size, self._page[begin : begin + size]))
                else:
                    self._page[begin : begin + size] = handle(Exit("port in", run.io.port, size))
            case k.KVM_EXIT_MMIO:
                address, size = run.mmio.phys_addr, run.mmio.len
                if run.mmio.is_write:
                    handle(Exit("memory write", address, size, bytes(run.mmio.data[:size])))
                else:
                    run.mmio.data[:size] = handle(Exit("memory read", address, size))
            case k.KVM_EXIT_HLT:
                return Exit("halt")
            case k.KVM_EXIT_SHUTDOWN:
                return Exit("shutdown")
            case reason:
                what = "KVM_EXIT_FAIL_ENTRY" if reason == k.KVM_EXIT_FAIL_ENTRY else f"exit reason {reason}"
                raise RuntimeError(f"the guest can't go on: {what}. See the KVM API, struct kvm_run")
        return None

    def stop(self) -> None:
        self._run.immediate_exit = 1
        with self._lock:  # or the thread could have left KVM_RUN, and take the signal for its own
            if self._thread is not None:
                signal.pthread_kill(self._thread, _STOP)

    def close(self) -> None:
        self._cleanup.close()


def _open() -> int:
    """/dev/kvm. Raises :class:`KernelError`: ENOENT without it, EACCES."""
    try:
        return os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        remedy = "Join the group kvm, or be root." if error.errno == EACCES else "Use the software CPU."
        raise KernelError("open /dev/kvm", error.errno or 0, remedy) from None


@cache
def works() -> bool:
    """Whether a guest really runs: one that only halts, in a process of its own with a time limit."""
    argv = [sys.executable, "-c", "from kit.hypervisors import kvm; kvm.halt()"]
    try:
        return run(argv, timeout=5).returncode == 0
    except TimeoutError:
        return False


def halt() -> None:
    """Run a guest of one instruction to its end."""
    cpu = KvmCpu(1 << 16)
    cpu.memory[0x8000] = 0xF4
    cpu.real_mode(0x8000)
    assert cpu.run(lambda _: b"") == Exit("halt")
