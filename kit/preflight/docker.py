"""The docker command: a client, and perhaps a server that answers it. See docker version."""

from __future__ import annotations

import json
import shutil

from kit.linux.spawn import run
from kit.preflight.row import Finding


def docker() -> Finding:
    """Let the client report on itself and ask the server. ``docker --version`` would ask nobody.

    The course brings its own server, so a client alone is all that is needed.
    """
    command = shutil.which("docker")
    if command is None:
        return Finding("no", "there is no docker command")
    done = run([command, "version", "--format", "{{json .}}"])
    try:
        told = json.loads(done.stdout)
        client = f"client {told['Client']['Version']} (API {told['Client']['ApiVersion']})"
    except (ValueError, KeyError, TypeError):
        return Finding(
            "no",
            f"{command} did not report on itself: {(done.stderr or done.stdout).strip() or done.returncode}",
        )
    server = told.get("Server")
    if server:
        return Finding("yes", f"{client}; a daemon answers, version {server['Version']}")
    return Finding("yes", f"{client}; no daemon answers it, and none is needed: the course brings its own")
