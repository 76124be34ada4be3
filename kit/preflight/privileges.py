"""Is this really root, and may others have namespaces of their own?

See capabilities(7), user_namespaces(7).
"""

from __future__ import annotations

import os

from kit.linux import capabilities
from kit.linux.clone import NAMESPACES, set_hostname, unshare
from kit.linux.mount import MountFlags, mount
from kit.linux.prctl import prctl
from kit.preflight.child import AS_ROOT
from kit.preflight.row import Finding

NOBODY = 65534
PR_SET_DUMPABLE = 4  # see PR_SET_DUMPABLE(2const)

_IN_A_CONTAINER = (
    "This root is confined, as in a container. Run the course on the machine itself or in a virtual machine, "
    "or start the container with: docker run --privileged --cgroupns=host"
)


def root() -> Finding:
    """User id 0 says little: use the power, in namespaces that end with the probe."""
    uid = os.geteuid()
    held = len(capabilities.names(capabilities.get()[0]))
    have = f"user id {uid} with {held} of {len(capabilities.CAPABILITIES)} capabilities"
    if uid != 0:
        return Finding("no", have, AS_ROOT)
    try:
        unshare(NAMESPACES["mount"] | NAMESPACES["uts"])
        mount(None, "/", None, MountFlags.REC | MountFlags.PRIVATE)
        mount("kit-doctor", "/tmp", "tmpfs", MountFlags.NOSUID | MountFlags.NODEV, "size=64k")
        set_hostname("kit-doctor")
    except OSError as error:
        return Finding("no", f"{have}, but the kernel refused: {error}", _IN_A_CONTAINER)
    return Finding("yes", f"{have}; could mount a tmpfs and set a host name in namespaces of its own")


def unprivileged_user_namespace() -> Finding:
    """As an ordinary user (root becomes nobody): make a user namespace, be root inside, and use that power.

    Making one is not enough: Ubuntu 24.04 allows that and then takes all capabilities away inside.
    """
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        prctl(PR_SET_DUMPABLE, 1)  # the change of user gave /proc/self to root
    uid, gid = os.geteuid(), os.getegid()
    who = "nobody" if uid == NOBODY else f"user id {uid}"
    try:
        unshare(NAMESPACES["user"])
        _write_maps(uid, gid)
        unshare(NAMESPACES["mount"] | NAMESPACES["uts"])
        mount("kit-doctor", "/tmp", "tmpfs", MountFlags.NOSUID | MountFlags.NODEV, "size=64k")
        set_hostname("kit-doctor")
    except OSError as error:
        return Finding("no", f"{who} tried, and the kernel refused: {error}", _how_to_allow())
    return Finding(
        "yes", f"{who} made one, became root inside, and could mount a tmpfs and set a host name there"
    )


def _write_maps(uid: int, gid: int) -> None:
    for name, text in (("setgroups", "deny"), ("gid_map", f"0 {gid} 1"), ("uid_map", f"0 {uid} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def _how_to_allow() -> str:
    # Distributions have added switches of their own; name the one that exists here.
    for switch, value in (
        ("kernel/apparmor_restrict_unprivileged_userns", 0),
        ("kernel/unprivileged_userns_clone", 1),
    ):
        try:
            with open(f"/proc/sys/{switch}") as file:
                if int(file.read()) != value:
                    return f"sudo sysctl -w {switch.replace('/', '.')}={value}"
        except OSError:
            continue
    return "sudo sysctl -w user.max_user_namespaces=10000"
