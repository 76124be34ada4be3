"""Who you are to a registry: Docker's ~/.docker/config.json and its credential helpers.

    {"auths": {"127.0.0.1:5000": {"auth": "<base64 of user:password>"}},
     "credHelpers": {"ghcr.io": "pass"}, "credsStore": "secretservice"}

A helper is a program, docker-credential-<name>, that is told get, store or erase and speaks JSON: see
github.com/docker/docker-credential-helpers. Without one, the file holds the password, readable by you alone.
"""

from __future__ import annotations

import base64
import json
import os
import re
import secrets
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kit.images import documents
from kit.images.errors import ImageError
from kit.images.reference import HUB

_HUB_KEY = "https://index.docker.io/v1/"  # what the Hub has been called in the file since before there was v2
_NO_USER = "<token>"  # what a helper says in place of a user who has an identity token
_NOT_FOUND = "credentials not found"  # what a helper prints where it has none
_PATIENCE = 60  # seconds: a helper may ask its user


@dataclass(frozen=True)
class Credentials:
    """A user and a password; with no user, an identity token. ``repr`` keeps the secret."""

    username: str
    secret: str

    def __repr__(self) -> str:
        return f"Credentials({self.username!r}, …)"

    def pair(self) -> str:
        """Base64 of user:password, as RFC 7617 and the file have it."""
        return base64.b64encode(f"{self.username}:{self.secret}".encode()).decode()

    def basic(self) -> str:
        """The value of an Authorization header, RFC 7617."""
        return f"Basic {self.pair()}"


def config_file() -> Path:
    """config.json in $DOCKER_CONFIG, or else in ~/.docker."""
    return Path(os.environ.get("DOCKER_CONFIG") or os.path.expanduser("~/.docker")) / "config.json"


def find(registry: str) -> Credentials | None:
    """What is known for a registry; raises ImageError for a file or a helper that can't be understood."""
    config, key = _read(), _key(registry)
    if helper := _helper(config, key):
        answer = _ask(helper, "get", key)
        if answer is None:
            return None
        found = documents.parse(answer.encode(), helper)
        username, secret = found.get("Username"), found.get("Secret")
        if not isinstance(username, str) or not isinstance(secret, str):
            raise ImageError("a credential helper must answer with Username and Secret", helper)
        return Credentials("" if username == _NO_USER else username, secret)
    auths = config["auths"]
    entry = auths.get(key) or auths.get(f"https://{key}") or {}
    if token := entry.get("identitytoken"):
        return Credentials("", str(token))
    if not (auth := entry.get("auth")):
        return None
    try:
        username, colon, secret = base64.b64decode(auth, validate=True).decode().partition(":")
    except (ValueError, TypeError):
        username = colon = secret = ""
    if not colon:
        what = f"'auth' of {key} is not the base64 of user:password"
        raise ImageError(what, config_file(), f"Log in again: kit login {registry}.")
    return Credentials(username, secret.rstrip("\0"))


def store(registry: str, credentials: Credentials) -> str:
    """Keep credentials; returns where. Raises ImageError, OSError."""
    config, key = _read(), _key(registry)
    username, secret = credentials.username, credentials.secret
    if helper := _helper(config, key):
        said = {"ServerURL": key, "Username": username or _NO_USER, "Secret": secret}
        _ask(helper, "store", json.dumps(said))
        return helper
    entry = {"auth": credentials.pair()} if username else {"auth": "", "identitytoken": secret}
    config["auths"][key] = entry
    _write(config)
    return str(config_file())


def erase(registry: str) -> bool:
    """Forget a registry's credentials; whether there were any. Raises ImageError, OSError."""
    config, key = _read(), _key(registry)
    if helper := _helper(config, key):
        known = _ask(helper, "get", key) is not None
        if known:
            _ask(helper, "erase", key)
        return known
    gone = [config["auths"].pop(name, None) for name in (key, f"https://{key}")]
    if not any(gone):
        return False
    _write(config)
    return True


def _key(registry: str) -> str:
    return _HUB_KEY if registry == HUB else registry


def _read() -> dict[str, Any]:
    """The file, with ``auths`` and ``credHelpers`` as objects; ImageError where they are something else."""
    file = config_file()
    try:
        config = documents.parse(file.read_bytes(), file)
    except FileNotFoundError:
        config = {}
    for key, kind in (("auths", dict), ("credHelpers", str)):
        config[key] = config.get(key) or {}
        if not isinstance(config[key], dict) or not all(isinstance(x, kind) for x in config[key].values()):
            raise ImageError(f"{key!r} is not what Docker writes there", file, "Mend or remove the file.")
    return config


def _write(config: dict[str, Any]) -> None:
    """Replace the file, all other keys kept, in one step; it and its directory are for their owner alone."""
    file = config_file().resolve()  # a link stays one
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = file.with_name(f".config-{secrets.token_hex(4)}.json")
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w") as out:
            out.write(json.dumps(config, indent="\t") + "\n")
            out.flush()
            os.fsync(out.fileno())
        os.replace(temporary, file)
    finally:
        temporary.unlink(missing_ok=True)


def _helper(config: dict[str, Any], key: str) -> str:
    """The program that keeps the credentials of this registry; empty where the file does."""
    name = config["credHelpers"].get(key) or config.get("credsStore") or ""
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9._-]*", name):
        raise ImageError(f"{name!r:.100} can't be a credential helper's name", config_file())
    return f"docker-credential-{name}" if name else ""


def _ask(helper: str, verb: str, text: str) -> str | None:
    """What a helper says; None where it has no such credentials. Raises ImageError."""
    if shutil.which(helper) is None:
        remedy = "Install it, or take it out of the file."
        raise ImageError(f"the credential helper {helper} is not installed", config_file(), remedy)
    try:
        done = subprocess.run([helper, verb], input=text, capture_output=True, text=True, timeout=_PATIENCE)
    except subprocess.TimeoutExpired:
        raise ImageError(f"{helper} {verb} did not answer in {_PATIENCE} seconds", config_file()) from None
    said = (done.stdout.strip() or done.stderr.strip())[:500]
    if done.returncode and _NOT_FOUND in said:
        return None
    if done.returncode:
        raise ImageError(f"{helper} {verb} failed: {said}", config_file())
    return done.stdout
