"""From the words of a program to its bytes, with the listing beside it. See Intel's manual, volume 2."""

from __future__ import annotations

from dataclasses import dataclass

from kit.hypervisors.machine import CODE


@dataclass(frozen=True)
class Program:
    """A program's bytes, and a line of the listing for each of its instructions."""

    code: bytes
    listing: str

    def __str__(self) -> str:
        return self.listing


def assemble(source: str, bits: int = 16, at: int = CODE) -> Program:
    """Assemble Intel syntax (Keystone) for 16 or 64 bits and the address ``at``.

    A line is an instruction or a ``label:``; a semicolon begins a comment. Raises ValueError with the line
    that can't be assembled.
    """
    import keystone

    mode = {16: keystone.KS_MODE_16, 64: keystone.KS_MODE_64}[bits]
    assembler = keystone.Ks(keystone.KS_ARCH_X86, mode)
    lines = [line.partition(";")[0].rstrip() for line in source.splitlines()]
    try:
        code = bytes(assembler.asm("\n".join(lines), at)[0] or ())
    except keystone.KsError as error:
        raise ValueError(f"this can't be assembled: {error}") from None
    return Program(code, _listing(code, bits, at))


def _listing(code: bytes, bits: int, at: int) -> str:
    import capstone

    mode = {16: capstone.CS_MODE_16, 64: capstone.CS_MODE_64}[bits]
    found = capstone.Cs(capstone.CS_ARCH_X86, mode).disasm(code, at)
    return "\n".join(f"{one.address:6x}  {one.bytes.hex():<20}  {one.mnemonic} {one.op_str}".rstrip() for one in found)
