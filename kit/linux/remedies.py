"""What to do when a step of starting a process is refused. See errno(3) and the manual page of each call."""

from __future__ import annotations

# The step's name begins with the first word(s); the errno; the remedy.
REMEDIES = (
    (
        "clone",
        "EPERM",
        "New namespaces need root (CAP_SYS_ADMIN), or a new user namespace beside them: add 'user'.",
    ),
    (
        "clone",
        "ENOSPC",
        "The limit on namespaces is reached: see /proc/sys/user/max_*_namespaces, and namespaces(7).",
    ),
    ("clone", "EAGAIN", "The limit on processes is reached: see pids.max of the group, and ulimit -u."),
    ("clone", "EINVAL", "This kernel lacks one of the namespaces asked for: kit doctor tells which."),
    ("unshare", "EPERM", "Needs root (CAP_SYS_ADMIN), or a new user namespace beside it: add 'user'."),
    (
        "write the id maps",
        "EPERM",
        "Without root, only your own ids can be mapped, one each: [(0, your uid, 1)].",
    ),
    (
        "write the id maps",
        "EINVAL",
        "Ranges must not overlap, and a count must be at least 1: see user_namespaces(7).",
    ),
    ("enter the control group", "ENOENT", "No such group: it was removed, or never made."),
    (
        "enter the control group",
        "EACCES",
        "The group belongs to someone else: be root, or have it delegated.",
    ),
    (
        "enter the control group",
        "EBUSY",
        "In cgroup v2 a group hands out controllers or holds processes, not both: use a leaf.",
    ),
    (
        "enter the",
        "EPERM",
        "Entering needs CAP_SYS_ADMIN in the user namespace that owns the target: be root, or join "
        "'user' too.",
    ),
    (
        "enter the",
        "EINVAL",
        "That is no namespace of this kind, or one that a process can't enter, as its own user namespace.",
    ),
    ("set the host name", "EINVAL", "A host name has at most 64 bytes: see sethostname(2)."),
    (
        "set the host name",
        "EPERM",
        "Only a UTS namespace of your own may be renamed: unshare 'uts' (and 'user' when not root).",
    ),
    ("change directory", "ENOENT", "No such directory where the process looks, inside its own root."),
    (
        "exec",
        "ENOENT",
        "No such program where the process looks (PATH, inside its own root), or its loader is missing "
        "there.",
    ),
    ("exec", "EACCES", "The file is not executable, or lies on a mount with noexec."),
    (
        "exec",
        "E2BIG",
        "Arguments and environment are too long: see execve(2), 'Limits on size of arguments'.",
    ),
    ("exec", "ENOEXEC", "The file is neither a program for this machine nor a script with a #! line."),
    ("mount", "EEXIST", "A link on the way leads to a place that is not there inside the container's root."),
    (
        "wait for the process",
        "ETIMEDOUT",
        "Something holds it up: a stopped or frozen container, or a file system that does not answer.",
    ),
    ("mount proc", "ELOOP", "The image has a link there, which could lead past the covers of /proc."),
    ("mount sysfs", "ELOOP", "The image has a link there, which could lead past the covers of /sys."),
    ("mount", "ELOOP", "A link on the way goes through /proc, and could lead out of the container."),
    (
        "mount",
        "EPERM",
        "Mounting needs a mount namespace of your own: unshare 'mount' (and 'user' when not root).",
    ),
    ("install", "EINVAL", "The kernel can't accept this program: see seccomp(2), 'Filters'."),
    ("mount", "ENOENT", "Source or target does not exist."),
    ("mount", "ENODEV", "This kernel has no such file system; /proc/filesystems lists those it knows."),
    (
        "pivot_root",
        "EPERM",
        "Needs a mount namespace of its own: unshare 'mount' (and 'user' when not root).",
    ),
    ("pivot_root", "ENOENT", "The new root directory does not exist."),
    (
        "set the clock offsets",
        "EACCES",
        "Only clocks monotonic and boottime can be shifted, by the privileged: see time_namespaces(7).",
    ),
    (
        "set the clock offsets",
        "EINVAL",
        "The clocks are monotonic and boottime, the offsets whole seconds: see time_namespaces(7).",
    ),
    (
        "set the clock offsets",
        "ERANGE",
        "The clock would fall below zero or overflow: see time_namespaces(7).",
    ),
)


def remedy(step: str, errno_name: str) -> str:
    """The remedy for a failed step, empty where none is known."""
    for name, errno, text in REMEDIES:
        if step.startswith(name) and errno == errno_name:
            return text
    return ""
