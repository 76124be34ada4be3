"""Where one probe runs: ``python -P -m kit.preflight.child MODULE FUNCTION [ARGUMENT ...]``.

The process has a single thread, so that a probe may leave its namespaces, drop its privileges and put a
filter on its system calls for good: all of it ends with the process. The answer is one JSON object on
standard output.
"""

from __future__ import annotations

import errno
import importlib
import json
import os
import signal
import sys
from dataclasses import asdict

from kit.linux.errors import KernelError
from kit.linux.prctl import die_with_parent
from kit.preflight.row import Finding

AS_ROOT = "Only root may do this. Start the course with: sudo make lab"


def refused(error: OSError) -> Finding:
    """The kernel's answer as a finding, with the remedy for the commonest cause: not being root."""
    remedy = error.remedy if isinstance(error, KernelError) else ""
    if os.geteuid() != 0 and error.errno in (errno.EPERM, errno.EACCES):
        remedy = AS_ROOT
    name = errno.errorcode.get(error.errno or 0, "")
    what = error.what if isinstance(error, KernelError) else str(error.filename or "")
    answer = f"{name} ({error.strerror})" if name else str(error)
    return Finding("no", f"{what}: {answer}" if what else answer, remedy)


def main(module: str, function: str, *arguments: str) -> None:
    """Call the function and write what it found."""
    die_with_parent(signal.SIGKILL)
    # What the probe's own children print must not mix with the answer, nor may they hold its pipe open.
    answer = os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 1)
    try:
        finding = getattr(importlib.import_module(module), function)(*arguments)
    except OSError as error:
        finding = refused(error)
    except ImportError as error:
        finding = Finding("no", f"a library is missing: {error}", "make setup")
    except Exception as error:  # whatever a probe trips over becomes a row: the report must go on
        finding = Finding(
            "no",
            f"the probe itself failed: {type(error).__name__}: {error}",
            "This is a bug in the kit: please report it.",
        )
    with open(answer, "w") as out:
        json.dump(asdict(finding), out)


if __name__ == "__main__":
    main(*sys.argv[1:])
