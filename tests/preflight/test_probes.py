"""Each probe on the real kernel, and independent witnesses that see the same."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kit.linux.spawn import run
from kit.preflight import PROBES, Row, examine
from kit.preflight.firmware import SPEAKS, boot_sector, init, initramfs
from kit.preflight.kvm import COUNTDOWN, KVM_EXIT_HLT, Guest

ROOT = Path(__file__).resolve().parents[2]
needs_root = pytest.mark.needs("root")


def row(name: str) -> Row:
    (found,) = examine([probe for probe in PROBES if probe.name == name])
    return found


def succeeds(*argv: str) -> bool:
    return subprocess.run(argv, capture_output=True).returncode == 0


NAMESPACE_OPTIONS = {
    "mount": ["--mount"],
    "UTS": ["--uts"],
    "IPC": ["--ipc"],
    "PID": ["--pid", "--fork"],
    "network": ["--net"],
    "user": ["--user"],
    "cgroup": ["--cgroup"],
    "time": ["--time"],
}


@needs_root
@pytest.mark.parametrize("kind", NAMESPACE_OPTIONS)
def test_a_namespace_works_where_unshare_can_make_one(kind):
    found = row(f"{kind} namespace")
    assert (found.works == "yes") == succeeds("unshare", *NAMESPACE_OPTIONS[kind], "true")
    before, after = re.findall(r"\[(\d+)\]", found.detail)
    link = {"mount": "mnt", "network": "net"}.get(kind, kind.lower())
    assert os.readlink(f"/proc/self/ns/{link}") == f"{link}:[{before}]"
    assert before != after


@needs_root
def test_root_is_root_only_with_its_capabilities():
    found = row("root")
    assert (found.works == "yes") == succeeds("unshare", "--mount", "mount", "-t", "tmpfs", "none", "/tmp")
    held = bin(int(re.search(r"CapEff:\s*(\w+)", Path("/proc/self/status").read_text())[1], 16)).count("1")
    assert f"user id 0 with {held} of" in found.detail


@needs_root
def test_root_without_its_capabilities_is_told_so():
    code = "from kit.preflight import privileges as p; f = p.root(); print(f.works, f.detail, f.remedy)"
    done = subprocess.run(
        ["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-all", sys.executable, "-c", code],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout.startswith("no user id 0 with "), done.stderr
    assert "EPERM" in done.stdout or "Operation not permitted" in done.stdout
    assert "--privileged" in done.stdout


@needs_root
def test_the_user_namespace_of_an_ordinary_user():
    found = row("user namespace without root")
    witness = succeeds(
        "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
        "unshare", "--user", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "none", "/tmp",
    )  # fmt: skip
    assert (found.works == "yes") == witness


@needs_root
@pytest.mark.parametrize("name", ["cpu", "memory", "pids", "io", "cpuset"])
def test_a_controller_that_limits_is_one_that_the_kernel_lists(name):
    found = row(f"{name} controller")
    listed = {
        line.split()[0]: line.split()[-1] for line in Path("/proc/cgroups").read_text().splitlines()[1:]
    }
    if found.works == "yes":
        assert listed.get("blkio" if name == "io" else name, "1") == "1"
    else:
        assert found.detail
        assert found.remedy


@needs_root
@pytest.mark.parametrize("name", ["control groups", "freezer", "pressure (PSI)", "overlay", "seccomp"])
def test_what_works_says_what_was_seen(name):
    found = row(name)
    assert found.detail
    assert bool(found.remedy) == (found.works != "yes")
    witness = {
        "overlay": "overlay" in Path("/proc/filesystems").read_text(),
        "seccomp": "Seccomp_filters:" in Path("/proc/self/status").read_text(),
        "pressure (PSI)": Path("/proc/pressure/cpu").exists(),
    }
    assert (found.works == "yes") <= witness.get(name, True)


@needs_root
@pytest.mark.needs("unshare", "umount")
def test_a_machine_without_control_groups_is_told_so():
    code = (
        "from kit.preflight import PROBES, examine\n"
        "for row in examine([p for p in PROBES if 'limits' in p.call[0]]):\n"
        "    print(row.works, row.name, '|', row.detail, '|', row.remedy)"
    )
    # In a mount namespace of its own, so that only this one process loses sight of them.
    script = 'umount -R /sys/fs/cgroup && exec "$0" -c "$1"'
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, sys.executable, code],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    rows = done.stdout.splitlines()
    assert len(rows) == 8, done.stderr
    for line in rows:
        assert line.startswith("no ")
        assert "the probe itself failed" not in line
        _, detail, remedy = line.split(" | ")
        assert detail
        assert remedy


@needs_root
def test_datagram_and_ping_cross_a_bridge_of_their_own():
    links = os.listdir("/sys/class/net")
    assert row("veth and bridge").works == "yes"
    found = row("ping")
    assert (found.works == "yes") == (shutil.which("ping") is not None)
    assert os.listdir("/sys/class/net") == links


@needs_root
def test_kvm_is_judged_by_running_a_guest():
    found = row("KVM")
    assert bool(found.remedy) == (found.works != "yes")
    if found.works == "no":
        assert found.detail
        return
    assert ("emulated slowly" in found.detail) == (found.works == "partly")
    assert "20,000 times" in found.detail
    kvm = os.open("/dev/kvm", os.O_RDWR)
    guest = Guest(kvm)
    assert guest.run(COUNTDOWN, 3)[0] == KVM_EXIT_HLT
    reason, _ = guest.run(b"\x0f\x0b", 0)  # ud2, with nobody to handle it: a triple fault
    assert reason == 8  # KVM_EXIT_SHUTDOWN
    for fd in (guest.cpu, guest.vm, kvm):
        os.close(fd)


@needs_root
@pytest.mark.needs("unshare")
def test_a_machine_without_dev_kvm_is_told_so():
    code = "from kit.preflight.kvm import kvm; print(kvm())"
    script = 'mount -t tmpfs none /dev && exec "$0" -c "$1"'  # in a mount namespace of its own
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, sys.executable, code],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout.startswith("Finding(works='no', detail='/dev/kvm does not open: No such file"), (
        done.stderr
    )


@pytest.mark.needs("qemu-system-x86_64")
def test_qemu_boots_a_boot_sector():
    assert row("QEMU").works == "yes"


@pytest.mark.needs("qemu-system-x86_64")
def test_a_file_that_is_no_kernel_is_told_so(tmp_path, monkeypatch):
    fake = tmp_path / "vmlinuz"
    fake.write_bytes(b"not a kernel" * 1000)
    monkeypatch.setenv("KIT_KERNEL", str(fake))
    found = row("kernel to boot")
    assert found.works == "no"
    assert f"{fake} did not reach its first process" in found.detail
    assert "apt-get download" in found.remedy


@pytest.mark.needs("qemu-system-x86_64")
@pytest.mark.needs("root", "qemu-system-x86_64", "apt-get", "dpkg-deb")
def test_a_kernel_that_boots_is_said_to_boot(monkeypatch):
    from tests.cgroups import vm

    monkeypatch.setenv("KIT_KERNEL", str(next(vm.kernel().glob("vmlinu*"))))
    found = row("kernel to boot")
    assert found.works == "yes" and "reached its first process" in found.detail


def test_a_kernel_is_judged_by_booting_it():
    from kit.preflight.qemu import find_kernels

    found = row("kernel to boot")
    assert (found.works == "yes") == bool(find_kernels()), found.detail


def test_without_the_programs_the_rows_say_how_to_get_them(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    for name, remedy in {
        "ping": "sudo apt install --no-install-recommends iputils-ping",
        "QEMU": "sudo apt install --no-install-recommends qemu-system-x86",
        "docker command": "make lab",  # not apt: Docker's package would start an engine of its own
    }.items():
        found = row(name)
        assert found.works == "no"
        assert remedy in found.remedy


@needs_root
def test_packet_rules_are_judged_by_making_one():
    from kit.linux.nftables import table_exists

    found = row("packet rules")
    assert found.works == "yes" and "masquerades" in found.detail, found
    assert not table_exists("probe")  # it was made elsewhere


def test_docker_says_what_docker_version_says():
    found = row("docker command")
    if shutil.which("docker") is None:
        assert (found.works, found.detail) == ("no", "there is no docker command")
        return
    told = subprocess.run(["docker", "version"], capture_output=True, text=True)
    assert found.works == "yes"
    version = re.search(r"Version:\s*(\S+)", told.stdout)[1]
    assert f"client {version}" in found.detail
    assert ("a daemon answers" in found.detail) == (told.returncode == 0)


def test_a_docker_command_that_cannot_report_is_no_docker(tmp_path, monkeypatch):
    fake = tmp_path / "docker"
    fake.write_text("#!/bin/sh\necho Docker version 99.9\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    found = row("docker command")
    assert found.works == "no"
    assert "did not report on itself: Docker version 99.9" in found.detail


def test_a_boot_sector_is_512_bytes_with_the_signature():
    assert len(boot_sector()) == 512
    assert boot_sector()[510:] == b"\x55\xaa"


@pytest.mark.needs("busybox")
def test_the_archive_and_the_first_process_are_what_other_programs_take_them_for(tmp_path):
    listing = subprocess.run(["busybox", "cpio", "-tv"], input=initramfs(), capture_output=True)
    lines = listing.stdout.decode().splitlines()
    assert [line.split()[-1] for line in lines] == ["dev", "dev/console", "init"]
    assert lines[1].startswith("crw-------")
    # The program runs: it speaks, then asks for a reboot. In a pid namespace that only ends the namespace.
    program = tmp_path / "init"
    program.write_bytes(init())
    program.chmod(0o755)
    result = run([str(program)], unshare=["user", "pid"])
    assert (result.stdout, result.returncode) == (SPEAKS.decode(), -signal.SIGHUP)
