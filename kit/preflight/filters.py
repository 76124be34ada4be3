"""A filter on system calls. See seccomp(2)."""

from __future__ import annotations

import errno
import os

from kit.linux import seccomp
from kit.preflight.row import Finding

#: uname(2): harmless, and easily seen to fail. The number differs between architectures (asm/unistd.h).
NR_UNAME = {"x86_64": 63}.get(os.uname().machine, 160)


def seccomp_filter() -> Finding:
    """Put a filter on this process under which uname(2) fails with an errno that it never has otherwise."""
    seccomp.install(seccomp.deny([NR_UNAME], errno.ENOANO))
    try:
        os.uname()
    except OSError as error:
        if error.errno == errno.ENOANO:
            return Finding(
                "yes",
                "under a filter uname(2) failed with the errno that the filter chose, and all else went on",
            )
        raise
    return Finding("no", "the filter was accepted, but the forbidden call still succeeded")
