"""The form that all benchmarks share: interleaved runs, a table for people, JSON lines for machines.

A benchmark is a module with a function that takes the number of runs and returns measurements:

    def measurements(runs: int) -> list[Measurement]:
        times = measure({"kit": start_kit, "bwrap": start_bwrap if which("bwrap") else None}, runs)
        return [Measurement.of("start and end a process", "ms", times, scale=1000)]

    if __name__ == "__main__":
        main(measurements, versions={"bwrap": version("bwrap")})
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import statistics
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

MISSING = "not installed: make bench-peers"


@dataclass(frozen=True)
class Measurement:
    """One quantity, measured for the kit and for its peers; each list holds one value per run, in `unit`.

    Smaller is better: ratio = median(kit) / median(peer), so a ratio below 1 speaks for the kit.
    An empty list is a peer that could not be measured.
    """

    name: str
    unit: str
    kit: list[float]
    peers: dict[str, list[float]] = field(default_factory=dict)

    @classmethod
    def of(cls, name: str, unit: str, values: Mapping[str, list[float]], scale: float = 1.0) -> Measurement:
        """From what `measure` returned: "kit" and its peers; `scale` turns seconds into `unit`."""
        scaled = {who: [value * scale for value in found] for who, found in values.items()}
        return cls(name, unit, scaled.pop("kit"), scaled)

    def ratio(self, peer: str) -> float | None:
        found = self.peers[peer]
        return statistics.median(self.kit) / statistics.median(found) if found and self.kit else None


def measure(
    callables: Mapping[str, Callable[[], object] | None],
    runs: int,
    warmup: int = 2,
    after: Callable[[], object] = lambda: None,
) -> dict[str, list[float]]:
    """Seconds per call. Kit and peers take turns within each round, so that a busy moment hits them all
    alike; their order is shuffled each round, so that nobody always runs after the same neighbour, who may
    leave the kernel with work to do. ``after`` is called after each call, and not timed: to clean up.

    A callable that is None (a peer that is not installed) gets an empty list.
    """
    times: dict[str, list[float]] = {who: [] for who in callables}
    present = [(who, call) for who, call in callables.items() if call is not None]
    for round_number in range(-warmup, runs):
        for who, call in random.Random(round_number).sample(present, len(present)):
            start = time.perf_counter()
            call()
            taken = time.perf_counter() - start
            after()
            if round_number >= 0:
                times[who].append(taken)
    return times


def version(*command: str) -> str:
    """First line of `command --version`, or of `command` itself when it has arguments."""
    argv = [*command] if len(command) > 1 else [command[0], "--version"]
    try:
        answer = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=10)
    except FileNotFoundError:
        return MISSING
    lines = (answer.stdout or answer.stderr).strip().splitlines()
    return lines[0] if lines else "no version given"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def _spread(values: list[float]) -> str:
    """Lower and upper quartile: half of all runs lie between them."""
    if len(values) < 2:
        return "-"
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{_number(low)} .. {_number(high)}"


def table(measurements: Iterable[Measurement], versions: Mapping[str, str]) -> str:
    """The table for people: medians, quartiles, number of runs, kit/peer ratios; versions below."""
    lines = []
    for one in measurements:
        rows = [("", f"median {one.unit}", "quartiles", "runs", "kit/peer")]
        rows.append(("kit", _number(statistics.median(one.kit)), _spread(one.kit), str(len(one.kit)), ""))
        for peer, values in one.peers.items():
            if values:
                ratio = _number(one.ratio(peer))
                median = _number(statistics.median(values))
                rows.append((peer, median, _spread(values), str(len(values)), ratio))
            else:
                rows.append((peer, MISSING, "", "", ""))
        widths = [max(len(row[column]) for row in rows if row[1] != MISSING) for column in range(5)]
        widths[0] = max(len(row[0]) for row in rows)
        lines.append(one.name)
        for row in rows:
            cells = [row[0].ljust(widths[0])]
            cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
            lines.append("  " + "  ".join(cells).rstrip())
        lines.append("")
    lines.append("Smaller is better; kit/peer below 1 means that the kit takes less.")
    lines += [f"  {name}: {text}" for name, text in _all_versions(versions).items()]
    return "\n".join(lines)


def json_lines(measurements: Iterable[Measurement], versions: Mapping[str, str]) -> str:
    """One JSON object per measurement and peer. Null: the peer when there is none, its value when missing."""
    lines = []
    for one in measurements:
        peers: list[str | None] = [*one.peers] or [None]
        for peer in peers:
            values = one.peers[peer] if peer else []
            line = {
                "name": one.name,
                "unit": one.unit,
                "kit": statistics.median(one.kit),
                "peer": peer,
                "peer_value": statistics.median(values) if values else None,
                "ratio": one.ratio(peer) if peer is not None else None,
                "kit_runs": len(one.kit),
                "peer_runs": len(values),
                "versions": _all_versions(versions),
            }
            if peer is not None and not values:
                line["note"] = MISSING
            lines.append(json.dumps(line))
    return "\n".join(lines)


def _all_versions(versions: Mapping[str, str]) -> dict[str, str]:
    machine = {"linux": platform.release(), "python": platform.python_version()}
    return {**machine, **versions}


def main(
    measurements: Callable[[int], list[Measurement]],
    versions: Mapping[str, str] | None = None,
    runs: int = 50,
    argv: list[str] | None = None,
) -> None:
    """The command line of a benchmark: `--json` for JSON lines, `--runs` for the number of runs."""
    parser = argparse.ArgumentParser(description="The kit beside its peers, measured in one run.")
    parser.add_argument("--json", action="store_true", help="one JSON object per line")
    parser.add_argument("--runs", type=int, default=runs, help=f"runs of each (default {runs})")
    options = parser.parse_args(argv)
    if options.runs < 1:
        parser.error("--runs must be at least 1")
    show = json_lines if options.json else table
    print(show(measurements(options.runs), versions or {}))
