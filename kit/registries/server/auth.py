"""Who may push: names and passwords from a file as `htpasswd -B` writes it. See RFC 7617 (Basic), bcrypt(3).

A password is never kept, only its hash, which takes bcrypt about a quarter of a second to compute on purpose.
So what was right once is remembered, for as long as that hash is in the file.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from pathlib import Path

from kit.images.errors import ImageError
from kit.registries.server.errors import ErrorAnswer

_CHALLENGE = {"WWW-Authenticate": 'Basic realm="kit registry"'}
#: For names that are not in the file, so that they take as long.
_NOBODY = b"$2b$10$WlAd9kqRTSaHNPvlmBUhy.6bMVvbvfZFDx71SjPM9rCQ4Gkga6uGu"
_LONGEST = 72  # bytes of a password: bcrypt reads no more


class Htpasswd:
    """The users in the file at ``path``, which may change; ImageError for what is no bcrypt."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._salt = secrets.token_bytes(16)
        self._right: set[bytes] = set()
        self._users()

    def _users(self) -> dict[str, bytes]:
        """Names and hashes, as they stand in the file now."""
        users = {}
        for number, line in enumerate(self.path.read_text().splitlines(), 1):
            if not line.strip() or line.startswith("#"):
                continue
            name, _, hashed = line.strip().partition(":")
            if not hashed.startswith(("$2y$", "$2b$", "$2a$")):
                what = f"line {number} holds no bcrypt hash, and no other is supported"
                raise ImageError(what, self.path, "Make it with: htpasswd -B FILE NAME")
            users[name] = hashed.encode()
        return users

    def check(self, authorization: str) -> str:
        """The name of the user, or "" for empty credentials, which some clients send; else UNAUTHORIZED."""
        import bcrypt

        kind, _, encoded = authorization.partition(" ")
        try:
            text = base64.b64decode(encoded, validate=True).decode()
        except ValueError:
            text = "?"
        name, colon, password = text.partition(":")
        if kind.lower() != "basic" or not colon:
            raise refused("credentials of another kind than Basic, or unreadable ones")
        if text == ":":
            return ""
        users = self._users()
        hashed = users.get(name, _NOBODY)
        proof = hashlib.sha256(self._salt + hashed + text.encode()).digest()
        if proof not in self._right:
            try:
                right = bcrypt.checkpw(password.encode()[:_LONGEST], hashed)
            except ValueError:  # no such hash after all
                right = False
            if not right or name not in users:
                raise refused(f"no user {name[:50]!r} with this password")
            self._right.add(proof)
        return name


def refused(what: str) -> ErrorAnswer:
    """The answer to one whose credentials are missing or wrong."""
    return ErrorAnswer(401, "UNAUTHORIZED", what, headers=_CHALLENGE)
