"""An error that teaches: what was tried, what the kernel answered, what to do about it. See errno(3)."""

from __future__ import annotations

import errno
import os


class KernelError(OSError):
    """The kernel said no.

    ``what`` is what was tried, in words; ``errno`` and ``errno_name`` are the kernel's answer; ``remedy``
    says what to do. A subclass of :class:`OSError`, so ``except PermissionError`` does not catch it but
    ``except OSError`` does.
    """

    def __init__(self, what: str, number: int, remedy: str = "", path: str | None = None) -> None:
        super().__init__(number, os.strerror(number), path)
        self.what = what
        self.remedy = remedy

    @property
    def errno_name(self) -> str:
        """The errno's symbol, such as ``EPERM``."""
        return errno.errorcode.get(self.errno or 0, str(self.errno))

    def __str__(self) -> str:
        answer = f"{self.what}: {self.errno_name} ({self.strerror})"
        return f"{answer}. {self.remedy}" if self.remedy else answer

    def __reduce__(self) -> tuple[type[KernelError], tuple[str, int, str, str | None]]:
        return type(self), (self.what, self.errno or 0, self.remedy, self.filename)
