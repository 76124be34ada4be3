"""Which system calls a container may make: a profile becomes a filter program for the kernel.

The profile is the ``seccomp`` object of the OCI runtime-spec (config-linux.md); the default one is made from
the lists in seccomp.json, and one in Docker's own format is resolved to it. The program is made by
libseccomp. See seccomp(2), seccomp_init(3), seccomp_rule_add(3), https://docs.docker.com/engine/security/seccomp.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import json
import os
import re
from importlib import resources
from typing import Any

from kit.images.documents import Document
from kit.linux.errors import KernelError

_GO_NAMES = {"x86_64": "amd64", "aarch64": "arm64"}  # of machines, in Docker's profiles
_ARCHITECTURES = {
    "x86_64": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],  # nobody uses x32: its calls are refused
    "aarch64": ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
}
_ACTIONS = {
    "SCMP_ACT_KILL": 0, "SCMP_ACT_KILL_THREAD": 0, "SCMP_ACT_KILL_PROCESS": 0x80000000,
    "SCMP_ACT_TRAP": 0x00030000, "SCMP_ACT_ERRNO": 0x00050000, "SCMP_ACT_TRACE": 0x7FF00000,
    "SCMP_ACT_LOG": 0x7FFC0000, "SCMP_ACT_ALLOW": 0x7FFF0000,
}  # fmt: skip
_COMPARISONS = {
    f"SCMP_CMP_{name}": i for i, name in enumerate(("NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"), 1)
}
_CTL_BAD_ARCH, _CTL_NNP, _CTL_OPTIMIZE, _BINARY_TREE = 2, 3, 8, 2
_NEW_NAMESPACES = 0x7E020000  # the CLONE_NEW* flags that clone(2) takes
_AF_ALG, _AF_VSOCK = 38, 40  # sockets to the kernel's cryptography, and to the machine that this one runs on


class _Argument(ctypes.Structure):
    _fields_ = [
        ("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)
    ]  # fmt: skip


@functools.cache
def default(caps: frozenset[str]) -> Document:
    """The default profile for a container with these capabilities: a capability brings its calls along.

    All else fails with EPERM. Every caller gets the same object: it is not to be changed.
    """
    lists = json.loads((resources.files("kit.containers") / "seccomp.json").read_text())
    machine = os.uname().machine
    names = {*lists["allowed"], *lists["on"].get(machine, ())}
    for cap, calls in lists["with_capability"].items():
        if f"CAP_{cap}" in caps:
            names.update(calls)
    rules = [_rule(sorted(names))]
    rules += [_rule(["personality"], 0, "EQ", value) for value in (0, 8, 0x20000, 0x20008, 0xFFFFFFFF)]
    rules.append(_rule(["socket"], 0, "LT", _AF_ALG))
    rules += [_rule(["socket"], 0, "EQ", _AF_ALG + 1), _rule(["socket"], 0, "GT", _AF_VSOCK)]
    if "clone" not in names:
        rules.append(_rule(["clone"], 0, "MASKED_EQ", _NEW_NAMESPACES))
        # Its flags lie in memory, where no filter can look: so it is not there, and libraries use clone.
        rules.append({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.ENOSYS})
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": errno.EPERM,
        "architectures": _ARCHITECTURES.get(machine, []),
        "syscalls": rules,
    }


def _rule(names: list[str], index: int = 0, op: str = "", value: int = 0) -> Document:
    args = [{"index": index, "value": value, "valueTwo": 0, "op": f"SCMP_CMP_{op}"}] if op else []
    return {"names": names, "action": "SCMP_ACT_ALLOW", "args": args}


def resolved(profile: Document, caps: frozenset[str]) -> Document:
    """A profile in Docker's format as the runtime-spec has it, for this machine and these capabilities.

    Docker's has ``archMap`` for ``architectures``, and rules that hold only with (``includes``) or without
    (``excludes``) some architectures, capabilities or a kernel. The runtime-spec's own stays as it is. Raises
    ValueError for a condition that isn't known.
    """
    machine = os.uname().machine
    mine = f"SCMP_ARCH_{machine.upper()}"
    found = {key: value for key, value in profile.items() if key != "archMap"}
    for one in profile.get("archMap") or ():
        if one["architecture"] == mine:
            found["architectures"] = [mine, *(one.get("subArchitectures") or ())]
    found["syscalls"] = []
    for rule in profile.get("syscalls") or ():
        needs, bars = (_conditions(rule.get(key) or {}, caps, machine) for key in ("includes", "excludes"))
        if all(needs) and not any(bars):
            names = rule.get("names") or [rule["name"]]
            kept = {key: rule[key] for key in ("action", "errnoRet", "args") if rule.get(key) is not None}
            found["syscalls"].append({"names": names, **kept})
    return found


def _conditions(wanted: Document, caps: frozenset[str], machine: str) -> list[bool]:
    if unknown := {key for key in wanted if wanted[key]} - {"arches", "caps", "minKernel"}:
        raise ValueError(f"seccomp: a rule's condition {', '.join(sorted(unknown))} is not supported")
    met = [cap in caps for cap in wanted.get("caps") or ()]
    if arches := wanted.get("arches"):
        met.append(_GO_NAMES.get(machine, machine) in arches)
    if least := wanted.get("minKernel"):
        running, needed = (re.findall(r"\d+", text)[:2] for text in (os.uname().release, least))
        met.append([*map(int, running)] >= [*map(int, needed)])
    return met


_programs: dict[str, bytes] = {}


def program(profile: Document) -> bytes:
    """The filter of a profile, as the kernel takes it.

    Calls that libseccomp doesn't know are left to the default action. Raises ValueError for what it can't
    express, :class:`KernelError` ENOENT without libseccomp.
    """
    key = json.dumps(profile)
    if key not in _programs:
        _programs[key] = _compiled(profile)
    return _programs[key]


def _compiled(profile: Document) -> bytes:
    library = _library()
    if unknown := set(profile) - {"defaultAction", "defaultErrnoRet", "architectures", "syscalls", "flags"}:
        raise ValueError(f"seccomp: {', '.join(sorted(unknown))} is not supported")
    if any(flag != "SECCOMP_FILTER_FLAG_LOG" for flag in profile.get("flags") or ()):
        raise ValueError(f"seccomp: the flags {profile['flags']} are not supported")
    try:
        default_action = _action(profile["defaultAction"], profile.get("defaultErrnoRet"))
        filter_ = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(default_action)))
        try:
            library.seccomp_attr_set(filter_, _CTL_BAD_ARCH, ctypes.c_uint32(_action("SCMP_ACT_ERRNO", None)))
            library.seccomp_attr_set(filter_, _CTL_NNP, ctypes.c_uint32(0))
            library.seccomp_attr_set(filter_, _CTL_OPTIMIZE, ctypes.c_uint32(_BINARY_TREE))
            for name in profile.get("architectures") or ():
                token = library.seccomp_arch_resolve_name(name.removeprefix("SCMP_ARCH_").lower().encode())
                if token == 0:
                    raise ValueError(f"seccomp: libseccomp knows no architecture {name!r}")
                library.seccomp_arch_add(filter_, ctypes.c_uint32(token))  # the native one is there already
            for rule in profile.get("syscalls") or ():
                action = _action(rule["action"], rule.get("errnoRet"))
                if action != default_action:
                    _add(library, filter_, action, rule)
            return _exported(library, filter_)
        finally:
            library.seccomp_release(filter_)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"seccomp: the profile is not as the runtime-spec wants it: {error!r}") from None


def _add(library: ctypes.CDLL, filter_: ctypes.c_void_p, action: int, rule: Document) -> None:
    given = rule.get("args") or ()
    arguments = (_Argument * len(given))(
        *(
            _Argument(one["index"], _COMPARISONS[one["op"]], one["value"], one.get("valueTwo", 0))
            for one in given
        )
    )
    for name in rule["names"]:
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number == -1:
            continue
        answer = library.seccomp_rule_add_array(
            filter_, ctypes.c_uint32(action), number, len(given), arguments
        )
        if answer < 0:
            raise ValueError(f"seccomp: the rule for {name}: {os.strerror(-answer)}")


def _exported(library: ctypes.CDLL, filter_: ctypes.c_void_p) -> bytes:
    fd = os.memfd_create("seccomp")
    with open(fd, "rb") as file:
        if (answer := library.seccomp_export_bpf(filter_, fd)) < 0:
            raise ValueError(f"seccomp: the filter can't be made: {os.strerror(-answer)}")
        file.seek(0)
        return file.read()


def _action(name: str, errno_value: Any) -> int:
    if name not in _ACTIONS:
        raise ValueError(f"seccomp: the action {name!r} is not supported")
    carries = name in ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE")
    return _ACTIONS[name] | (errno.EPERM if errno_value is None else int(errno_value)) * carries


@functools.cache
def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL("libseccomp.so.2")
    except OSError:
        remedy = "Install it: apt-get install libseccomp2"
        raise KernelError("make a seccomp filter with libseccomp", errno.ENOENT, remedy) from None
    library.seccomp_init.restype = ctypes.c_void_p
    library.seccomp_arch_resolve_name.restype = ctypes.c_uint32
    return library
