"""Debian's docker-registry, which is Docker's own, on a port of this machine while a block runs."""

from __future__ import annotations

import base64
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import bcrypt

# The tests' set-up puts it beside Python, since its package would start a service.
PROGRAM = shutil.which("docker-registry", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def docker_registry(
    directory: Path, *, htpasswd: dict[str, str] | None = None, tls: tuple[Path, Path] | None = None,
    token: dict[str, str] | None = None,
) -> Iterator[str]:  # fmt: skip
    """Its address. What it keeps lies in ``directory``; ``htpasswd`` maps users to passwords."""
    assert PROGRAM, "tools/setup.sh test brings docker-registry"
    directory.mkdir(exist_ok=True)
    port = free_port()
    config: dict[str, Any] = {
        "version": "0.1",
        "log": {"level": "error"},
        "storage": {"filesystem": {"rootdirectory": str(directory)}, "delete": {"enabled": True}},
        "http": {"addr": f"127.0.0.1:{port}"},
    }
    if htpasswd:
        file = directory / "htpasswd"
        lines = [
            f"{user}:{bcrypt.hashpw(word.encode(), bcrypt.gensalt(5)).decode()}"
            for user, word in htpasswd.items()
        ]
        file.write_text("\n".join(lines))
        config["auth"] = {"htpasswd": {"realm": "test", "path": str(file)}}
    if token:
        config["auth"] = {"token": token}
    if tls:
        config["http"]["tls"] = {"certificate": str(tls[0]), "key": str(tls[1])}
    file = directory / "config.yml"
    file.write_text(json.dumps(config))  # which is YAML as well
    process = subprocess.Popen(
        [PROGRAM, "serve", str(file)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        for _ in range(200):
            with socket.socket() as probe:
                if not probe.connect_ex(("127.0.0.1", port)):
                    break
            assert process.poll() is None, process.stderr and process.stderr.read()
            time.sleep(0.05)
        yield f"127.0.0.1:{port}"
    finally:
        process.kill()
        process.communicate()


def certificate(directory: Path, host: str = "127.0.0.1") -> tuple[Path, Path]:
    """A certificate that signs itself, and its key."""
    crt, key = directory / "tls.crt", directory / "tls.key"
    kind = "IP" if host[0].isdigit() else "DNS"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={host}"]
    made += ["-addext", f"subjectAltName={kind}:{host}", "-out", str(crt), "-keyout", str(key)]
    subprocess.run(made, check=True, capture_output=True)
    return crt, key


def jwt(claims: dict[str, Any], crt: Path, key: Path) -> str:
    """A token that docker-registry believes, signed with the key: RFC 7515, RS256."""
    der = "".join(crt.read_text().splitlines()[1:-1])

    def part(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    head = part(json.dumps({"typ": "JWT", "alg": "RS256", "x5c": [der]}).encode())
    signed = f"{head}.{part(json.dumps(claims).encode())}"
    sign = ["openssl", "dgst", "-sha256", "-sign", str(key)]
    signature = subprocess.run(sign, input=signed.encode(), capture_output=True, check=True).stdout
    return f"{signed}.{part(signature)}"
