"""A network as a drawing: hosts, bridges, the cables between them, addresses at the sockets."""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

from matplotlib.axes import Axes

from kit.lab.palette import BLUE, GREEN, RULE, VERMILLION
from kit.lab.picture import Picture, canvas
from kit.lab.tree import box, text_width, write

# All in CSS pixels.
HOST, BRIDGE = 190.0, 44.0  # least width of a host, height of a bridge
APART = 110.0  # between two hosts
DROP = 84.0  # from a host down to its bridge
LINE = 20.0  # height of a line of text
PORT = 9.0  # side of a socket
EDGE = 16.0  # round the whole drawing


class Place(NamedTuple):
    """Where a box stands."""

    x: float
    y: float
    width: float
    height: float


def topology(net: Any, title: str = "network topology") -> Picture:
    """Draw what ``kit.namespaces.topology()`` read back from the kernel.

    Hosts stand in a row, bridges below them; each line is a veth pair, with the interface's name at each end.
    A cable with an end that is down is dashed and vermillion. Raises ValueError when there is nothing to
    draw.
    """
    bridges = [node for node in net.hosts if node.kind == "bridge"]
    hosts = _order([node for node in net.hosts if node.kind != "bridge"], bridges, net.links)
    if not hosts and not bridges:
        raise ValueError("topology: no hosts to draw")
    widths = [max([HOST, *(text_width(said(one), size=9.5) + 28 for one in cabled(node))]) for node in hosts]
    tall = 40 + LINE * max([len(cabled(node)) for node in hosts] + [1])
    row = sum(widths) + APART * (len(hosts) - 1)
    total = max(row, 260.0 * len(bridges), HOST) + 2 * EDGE
    figure, axes = canvas(total, 2 * EDGE + tall + (DROP + BRIDGE if bridges else 0))
    places: dict[str, Place] = {}
    x = (total - row) / 2
    for node, width in zip(hosts, widths, strict=True):
        places[node.name] = Place(x, EDGE, width, tall)
        x += width + APART
    for index, node in enumerate(bridges):
        room = (total - 2 * EDGE) / len(bridges)
        places[node.name] = Place(EDGE + index * room + 8, EDGE + tall + DROP, room - 16, BRIDGE)
    _cables(axes, net, places, {node.name for node in bridges})
    for node in hosts:
        _host(axes, node, places[node.name])
    for node in bridges:
        _bridge(axes, node, places[node.name])
    return Picture(figure, title, words(net))


def cabled(node: Any) -> list[Any]:
    """The interfaces worth drawing: all but loopback."""
    return [one for one in node.interfaces if one.kind != "loopback"]


def said(interface: Any) -> str:
    """An interface in one line."""
    return "  ".join(
        [interface.name, *(interface.addresses or ["no address"]), *([] if interface.up else ["(down)"])]
    )


def _order(hosts: list[Any], bridges: list[Any], links: Any) -> list[Any]:
    """Hosts of the same bridge beside each other, otherwise as they came."""
    place = {node.name: index for index, node in enumerate(bridges)}

    def middle(host: Any) -> float:
        ends = [link.b if link.a == host.name else link.a for link in links if host.name in (link.a, link.b)]
        near = [place[end] for end in ends if end in place]
        return sum(near) / len(near) if near else 0.0

    return sorted(hosts, key=middle)


def _host(axes: Axes, node: Any, at: Place) -> None:
    box(axes, *at, BLUE, fill=0.10, edge=1.6, radius=7)
    middle = at.x + at.width / 2
    write(axes, middle, at.y + 20, node.name, bold=True, size=11.5, align="center")
    lines = [said(one) for one in cabled(node)] or ["only loopback"]
    for index, line in enumerate(lines):
        write(axes, middle, at.y + 43 + LINE * index, line, size=9.5, align="center")


def _bridge(axes: Axes, node: Any, at: Place) -> None:
    box(axes, *at, GREEN, fill=0.12, edge=1.6, radius=7)
    addresses = [address for one in node.interfaces if one.kind == "bridge" for address in one.addresses]
    text = "  ".join([f"bridge {node.name}", *addresses])
    write(axes, at.x + at.width / 2, at.y + at.height / 2, text, bold=True, align="center")


def _cables(axes: Axes, net: Any, places: dict[str, Place], bridges: set[str]) -> None:
    up = {(node.name, one.name): one.up for node in net.hosts for one in node.interfaces}
    drawn = [link for link in net.links if link.a in places and link.b in places]
    down_from = Counter(end for link in drawn for end in (link.a, link.b) if {link.a, link.b} & bridges)
    used: Counter[str] = Counter()
    for link in drawn:
        ends = [(link.a, link.a_interface), (link.b, link.b_interface)]
        dead = not all(up.get(end, True) for end in ends)
        if not {link.a, link.b} & bridges:
            left, right = sorted(ends, key=lambda end: places[end[0]].x)
            _across(axes, places[left[0]], left[1], places[right[0]], right[1], dead)
            continue
        (host, inner), (bridge, outer) = sorted(ends, key=lambda end: end[0] in bridges)
        used[host] += 1
        x = places[host].x + places[host].width * used[host] / (down_from[host] + 1)
        _down(axes, x, places[host], inner, places[bridge], outer, dead)


def _line(axes: Axes, xs: list[float], ys: list[float], dead: bool) -> None:
    colour, dash = (VERMILLION, (0, (3.0, 2.0))) if dead else (RULE, "-")
    axes.plot(xs, ys, color=colour, linestyle=dash, linewidth=2.2, zorder=0.5)


def _socket(axes: Axes, x: float, y: float) -> None:
    box(axes, x - PORT / 2, y - PORT / 2, PORT, PORT, RULE, fill=1, edge=0, radius=2, layer=3)


def _across(axes: Axes, left: Place, left_name: str, right: Place, right_name: str, dead: bool) -> None:
    x1, x2, y = left.x + left.width, right.x, left.y + left.height / 2
    _line(axes, [x1, x2], [y, y], dead)
    _socket(axes, x1, y)
    _socket(axes, x2, y)
    write(axes, (x1 + x2) / 2, y - 15, "veth pair", size=9, align="center")
    write(axes, x1 + 9, y + 15, left_name, size=9)
    write(axes, x2 - 9, y + 15, right_name, size=9, align="right")


def _down(axes: Axes, x: float, host: Place, inner: str, bridge: Place, outer: str, dead: bool) -> None:
    foot = min(max(x, bridge.x + 30), bridge.x + bridge.width - 30)
    if abs(foot - x) < 20:
        foot = x  # straight rather than with a small jog
    top, bottom = host.y + host.height, bridge.y
    half = (top + bottom) / 2
    _line(axes, [x, x, foot, foot], [top, half, half, bottom], dead)
    _socket(axes, x, top)
    _socket(axes, foot, bottom)
    write(axes, x + 9, top + 15, inner, size=9)
    write(axes, foot + 9, bottom - 14, outer, size=9)


def words(net: Any) -> str:
    """The drawing said in sentences."""
    nodes = [
        f"{node.kind} {node.name} with {', '.join(map(said, cabled(node))) or 'only loopback'}"
        for node in net.hosts
    ]
    cables = [f"{link.a} {link.a_interface} to {link.b} {link.b_interface}" for link in net.links]
    return f"Network: {'; '.join(nodes)}. Cables (veth pairs): {', '.join(cables) or 'none'}."
