"""A container found on the host: what it is there, and what it sees of that itself.

See namespaces(7), cgroups(7), veth(4), proc_pid_mountinfo(5).
"""

from __future__ import annotations

from collections.abc import Iterable
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
    above, layers = proc.parent(pid), count(len(container.disk.hold()), "layer")
    groups = within.run(["cat", f"/proc/{pid}/cgroup"]).check().stdout  # as read in its cgroup namespace
    limits = [
        name for name in ("cpu.max", "memory.max", "pids.max") if name.split(".")[0] in group.controllers
    ]
    rows = [
        ("name", f"{container.name}, {container.id[:12]}", within.run(["uname", "-n"]).stdout.strip()),
        ("processes", *_sides(
            (f"{one.pid}  {cut(one.command)}", f"{one.inside}  {cut(one.command)}") for one in members(pid)
        )),
        ("parent of the first", f"{above}  {called(proc.command(above))}", "0, out of sight"),
        *((what, *_sides((f"{kind}  {space.ours[kind]}", f"{kind}  {space[kind]}") for kind in kinds))
          for what, kinds in (("namespaces of its own", space.own), ("shared", space.shared))),
        ("control group", _places(group), *_sides(line.split(":", 2)[2:] for line in groups.splitlines())),
        ("limits", "\n".join(f"{one}  {human(one, group[one])}" for one in limits), "felt, not changed"),
        ("root", short(f"{container.disk.path}\nan overlay: {layers} below, upper beside it"), "/"),
        ("network", *(_cables(pid, container.name) if "network" in space.own else ("ours", "ours"))),
    ]  # fmt: skip
    return Table(title, ("", "on the host", "inside"), rows)


def _sides(pairs: Iterable[Iterable[str]]) -> tuple[str, ...]:
    """Pairs of lines as a pair of cells; a line that comes twice on its side once."""
    return tuple("\n".join(dict.fromkeys(lines)) for lines in zip(*pairs, strict=True))


def _places(group: Cgroup) -> str:
    """The directory for memory; cgroup v1 has others for other controllers."""
    places = {name: path for name, (_, path) in group.places().items()}
    shown = places.get("memory", min(places.values()))
    others = [name for name, path in places.items() if path != shown]
    return short(f"{shown}\nand others for {', '.join(others)}" if others else shown)


def _cables(pid: int, name: str) -> tuple[str, ...]:
    """Of each cable the end that is plugged in here, and the one in the container with its address.

    The index of its other end is all that an end knows of it.
    """

    def look(ip: Any) -> list[tuple[int, str]]:
        at = {
            one["index"]: f"{one.get_attr('IFA_ADDRESS')}/{one['prefixlen']}" for one in ip.get_addr(AF_INET)
        }
        ends = (
            (one.get_attr("IFLA_LINK"), one.get_attr("IFLA_IFNAME"), one["index"]) for one in ip.get_links()
        )
        return [(other, f"{name}  {at.get(index, '')}") for other, name, index in ends if other]

    pairs = []
    for index, inner in in_network(pid, f"look at the network of {name}", look):
        outer = if_indextoname(index)
        bridge = Path(f"/sys/class/net/{outer}/master").resolve().name
        pairs.append((f"{outer}  plugged into the bridge {bridge}", inner))
    return _sides(pairs or [("no cable", "lo alone")])
