"""No test sees the credentials or the mirrors of who runs it."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def own_docker_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty $DOCKER_CONFIG."""
    directory = tmp_path / "docker-config"
    monkeypatch.setenv("DOCKER_CONFIG", str(directory))
    for name in ("KIT_MIRRORS", "SSL_CERT_FILE", "SSL_CERT_DIR", "REGISTRY_AUTH_FILE"):
        monkeypatch.delenv(name, raising=False)
    return directory
