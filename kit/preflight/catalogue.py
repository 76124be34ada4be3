"""What the course asks of a machine: what to try, which chapters need it, what to do when it fails."""

from __future__ import annotations

from kit.preflight.row import Probe

_APT = "sudo apt install --no-install-recommends"
_NAMESPACE = (
    "This kernel was built without it; every kernel of Debian and Ubuntu has it: "
    "sudo apt install linux-image-amd64, then reboot"
)
_CONTROLLER = (
    "If no group can be made at all, see the row of the control groups. If only this controller is missing, "
    "take cgroup_disable= off the kernel's command line and reboot"
)
_FREEZER = (
    "cgroup.freeze came with Linux 5.2, and only in a version 2 tree: "
    "sudo mkdir -p /mnt/cgroup2 && sudo mount -t cgroup2 none /mnt/cgroup2"
)
_KVM = (
    "Chapter 01 also runs on a software CPU. For KVM switch on virtualization in the firmware (or nested "
    "virtualization in the hypervisor), then: sudo modprobe -a kvm_intel kvm_amd"
)
#: Unpacked, not installed: no boot loader is touched, and it works in a container too.
_KERNEL = (
    "cd $(mktemp -d) && apt-get download $(apt-cache depends linux-image-cloud-amd64 linux-image-virtual | "
    "awk '/linux-image-[0-9]/ {print $2; exit}') && dpkg-deb -x linux-image-*.deb . && "
    "install -D -m 644 -t ~/.local/share/kit/boot boot/vmlinuz-*"
)

_KINDS = {
    "mount": ("03", "05", "06"),
    "uts": ("00", "03", "06"),
    "ipc": ("03", "06"),
    "pid": ("03", "06"),
    "network": ("03", "06", "08"),
    "user": ("03", "06"),
    "cgroup": ("03", "06"),
    "time": ("03",),
}


def _isolation() -> list[Probe]:
    return [
        Probe(
            f"{'UTS' if kind == 'uts' else kind.upper() if kind in ('ipc', 'pid') else kind} namespace",
            ("kit.preflight.isolation", "namespace", kind),
            chapters,
            _NAMESPACE if kind != "time" else "Time namespaces came with Linux 5.6: use a newer kernel",
        )
        for kind, chapters in _KINDS.items()
    ]


def _limits() -> list[Probe]:
    chapters = {
        "cpu": ("04", "06", "08"),
        "memory": ("04", "06"),
        "pids": ("04", "06"),
        "io": ("04",),
        "cpuset": ("04",),
    }
    return [
        Probe(
            "control groups",
            ("kit.preflight.limits", "tree"),
            ("04", "06"),
            "Be root on the machine itself or in a virtual machine; in a container: "
            "docker run --privileged --cgroupns=host",
        ),
        *(
            Probe(f"{name} controller", ("kit.preflight.limits", name), needed, _CONTROLLER, 10.0)
            for name, needed in chapters.items()
        ),
        Probe(
            "freezer",
            ("kit.preflight.limits", "freezer"),
            ("04", "06"),
            _FREEZER,
        ),
        Probe(
            "pressure (PSI)",
            ("kit.preflight.limits", "pressure"),
            ("04",),
            "Boot the kernel with psi=1 on its command line",
        ),
    ]


PROBES: list[Probe] = [
    Probe(
        "root",
        ("kit.preflight.privileges", "root"),
        ("00", "03", "04", "05", "06"),
        "Start JupyterLab as root: sudo make lab",
    ),
    *_isolation(),
    Probe(
        "user namespace without root",
        ("kit.preflight.privileges", "unprivileged_user_namespace"),
        (),
        "sudo sysctl -w user.max_user_namespaces=10000",
    ),
    *_limits(),
    Probe(
        "veth and bridge",
        ("kit.preflight.network", "bridge"),
        ("03", "06", "08"),
        "sudo modprobe -a veth bridge",
    ),
    Probe(
        "packet rules",
        ("kit.preflight.network", "packet_rules"),
        ("06",),
        "sudo modprobe -a nf_tables nft_chain_nat nft_masq; in a kernel of your own: CONFIG_NFT_MASQ",
    ),
    Probe("ping", ("kit.preflight.network", "ping"), ("03",), f"{_APT} iputils-ping"),
    Probe("overlay", ("kit.preflight.overlay", "overlay"), ("05", "06"), "sudo modprobe overlay"),
    Probe(
        "seccomp",
        ("kit.preflight.filters", "seccomp_filter"),
        ("06",),
        "This kernel was built without CONFIG_SECCOMP_FILTER; every kernel of Debian and Ubuntu has it",
    ),
    Probe(
        "KVM",
        ("kit.preflight.kvm", "kvm"),
        ("01",),
        _KVM,
    ),
    Probe("QEMU", ("kit.preflight.qemu", "qemu"), ("01",), f"{_APT} qemu-system-x86", 10.0),
    Probe("kernel to boot", ("kit.preflight.qemu", "kernel"), ("01",), _KERNEL, 20.0),
    Probe(
        "docker command",
        ("kit.preflight.docker", "docker"),
        ("06",),
        "Start JupyterLab with make lab, which unpacks the command without Docker's own engine",
    ),
]
"""In the order of the report."""
