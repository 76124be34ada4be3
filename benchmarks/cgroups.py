"""What it costs to watch a group: the kit's sampler beside psutil.

    python -m benchmarks.cgroups [--json] [--runs N]

Both watch the same group of four processes. psutil, which knows processes and no groups, asks each process
for its CPU time and memory; the kit reads all of the group's counters. The second figure is the CPU time of a
real sampling thread at 50 Hz, as a share of one core.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import psutil

from benchmarks.report import Measurement, main, measure
from kit.cgroups import Cgroup, Sampler, loads

PROCESSES = 4
HZ = 50
SECONDS = 1.0


def _peer(group: Cgroup) -> Callable[[], None]:
    processes = [psutil.Process(pid) for pid in group.pids()]

    def sample() -> None:
        for process in processes:
            with process.oneshot():
                process.cpu_times()
                process.memory_info()

    return sample


def _share_of_a_core(watch: Callable[[threading.Event], None]) -> float:
    """Percent of one core that the whole program uses while it watches; it does nothing else."""
    stop = threading.Event()
    began, cpu = time.perf_counter(), time.process_time()
    thread = threading.Thread(target=watch, args=(stop,))
    thread.start()
    time.sleep(SECONDS)
    stop.set()
    thread.join()
    return 100 * (time.process_time() - cpu) / (time.perf_counter() - began)


def _kit(group: Cgroup) -> Callable[[threading.Event], None]:
    def watch(stop: threading.Event) -> None:
        with Sampler(group, hz=HZ):
            stop.wait()

    return watch


def _psutil(sample: Callable[[], None]) -> Callable[[threading.Event], None]:
    def watch(stop: threading.Event) -> None:
        while not stop.wait(1 / HZ):
            sample()

    return watch


def measurements(runs: int) -> list[Measurement]:
    """One sample's duration, and the share of a core that sampling at 50 Hz takes."""
    with Cgroup("watched") as group:
        processes = [group.start(loads.tick(5)) for _ in range(PROCESSES)]
        sampler = Sampler(group, hz=1).start()
        peer = _peer(group)
        once = measure({"kit": sampler._take, "psutil": peer}, runs)
        sampler.stop()
        share: dict[str, list[float]] = {"kit": [], "psutil": []}
        for _ in range(max(3, runs // 20)):
            share["kit"].append(_share_of_a_core(_kit(group)))
            share["psutil"].append(_share_of_a_core(_psutil(peer)))
        for process in processes:
            process.close()
    return [
        Measurement.of("one sample of a group of four processes", "us", once, scale=1e6),
        Measurement.of("sampling it at 50 Hz", "% of a core", share),
    ]


if __name__ == "__main__":
    main(measurements, versions={"psutil": psutil.__version__})
