"""A container found on the host: what it is there, and what it sees of that itself.

See namespaces(7), cgroups(7), veth(4), proc_pid_mountinfo(5).
"""

from __future__ import annotations

from pathlib import Path
from socket import AF_INET, if_indextoname
from typing import TYPE_CHECKING, Any

from kit.lab.limits import human
from kit.lab.processes import called
from kit.lab.requests import short
from kit.lab.tree import count, cut
from kit.linux import proc
from kit.namespaces import inside, members, of
from kit.namespaces.netlink import in_network
from kit.show import Table

if TYPE_CHECKING:
    from kit.cgroups import Cgroup
    from kit.engine import Engine


def found(engine: Engine, name: str, title: str = "a container, from both sides") -> Table:
    """A table of what a running container, by its name or id, is on the host, and of how that looks inside.

    Its processes with both numbers, the namespaces in which it differs from us, its control groups and
    their limits, the mount that is its root, its interfaces and the bridges that they are plugged into; all
    asked of the kernel by the number of its first process. Raises ValueError for one that does not run,
    KernelError ESRCH where it ends meanwhile.
    """
    container = engine.find(name)
    if container.task is None:
        raise ValueError(f"found: {container.name} does not run, so there is no process to find")
    pid, group = container.task.pid, container.task.group
    space, within = of(pid), inside(pid, only=("uts", "cgroup"))
    family = members(pid)
    above, layers = proc.parent(pid), count(len(container.disk.hold()), "layer")
    wired = _cables(pid, container.name) if "network" in space.own else [("ours", "ours")]
    rows = [
        ("name", f"{container.name}, {container.id[:12]}", within.run(["uname", "-n"]).stdout.strip()),
        ("processes", _lines(f"{one.pid}  {cut(one.command)}" for one in family),
         _lines(f"{one.inside}  {cut(one.command)}" for one in family)),
        ("parent of the first", f"{above}  {called(proc.command(above))}", "0, out of sight"),
        ("namespaces of its own", _lines(f"{kind}  {space.ours[kind]}" for kind in space.own),
         _lines(f"{kind}  {space[kind]}" for kind in space.own)),
        ("shared", _lines(f"{kind}  {space.ours[kind]}" for kind in space.shared),
         _lines(f"{kind}  {space[kind]}" for kind in space.shared)),
        ("control group", _places(group), _lines(_groups(within, pid))),
        ("limits", _lines(_limits(group)), "set outside, and felt inside"),
        ("root", short(f"{container.disk.path}\n{layers} below {container.disk.upper}"), "/"),
        ("network", _lines(outer for outer, _ in wired), _lines(inner for _, inner in wired)),
    ]  # fmt: skip
    return Table(title, ("", "on the host", "inside"), rows)


def _lines(texts: Any) -> str:
    return "\n".join(texts)


def _places(group: Cgroup) -> str:
    """The directory for memory; cgroup v1 has others for other controllers."""
    places = {name: path for name, (_, path) in group.places().items()}
    shown = places.get("memory", min(places.values()))
    others = [name for name, path in places.items() if path != shown]
    return short(f"{shown}\nand others for {', '.join(others)}" if others else shown)


def _groups(within: Any, pid: int) -> list[str]:
    """Its groups' paths as somebody in its cgroup namespace reads them."""
    text = within.run(["cat", f"/proc/{pid}/cgroup"]).check().stdout
    return list(dict.fromkeys(line.split(":", 2)[2] for line in text.splitlines()))


def _limits(group: Cgroup) -> list[str]:
    names = [
        name for name in ("cpu.max", "memory.max", "pids.max") if name.partition(".")[0] in group.controllers
    ]
    return [f"{name}  {human(name, group[name])}" for name in names]


def _cables(pid: int, name: str) -> list[tuple[str, str]]:
    """Of each cable the end that is plugged in here, and the one in the container with its address.

    The index of its other end is all that an end knows of it.
    """

    def look(ip: Any) -> list[tuple[int, str]]:
        ipv4 = {one["index"]: one for one in ip.get_addr(family=AF_INET)}
        return [
            (link.get_attr("IFLA_LINK"), _address(link.get_attr("IFLA_IFNAME"), ipv4.get(link["index"])))
            for link in ip.get_links()
            if link.get_attr("IFLA_LINK")
        ]

    pairs = []
    for index, inner in in_network(pid, f"look at the network of {name}", look):
        outer = if_indextoname(index)
        bridge = Path(f"/sys/class/net/{outer}/master").resolve().name
        pairs.append((f"{outer}  plugged into the bridge {bridge}", inner))
    return pairs or [("no cable", "lo alone")]


def _address(interface: str, found: Any) -> str:
    return f"{interface}  {found.get_attr('IFA_ADDRESS')}/{found['prefixlen']}" if found else interface
