"""Docker's config.json, credential helpers, and `kit login`, beside skopeo, which reads the same file."""

from __future__ import annotations

import base64
import json
import os
import stat
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from kit.cli import main
from kit.images.errors import ImageError
from kit.registries import credentials
from kit.registries.credentials import Credentials
from tests.registries.debian import docker_registry

ME = Credentials("me", "se:cret ü")
HELPER = """#!/bin/sh
# A credential helper that keeps what it is told in a file: see docker-credential-helpers.
set -e
cd "$(dirname "$0")"
case $1 in
store) cat > kept ;;
erase) cat > erased; rm kept ;;
get) cat > asked
     if [ -e kept ]; then cat kept; else echo "credentials not found in native keychain"; exit 1; fi ;;
esac
"""


def written() -> dict[str, object]:
    return json.loads(credentials.config_file().read_text())


def config(**content: object) -> None:
    credentials.config_file().parent.mkdir(exist_ok=True)
    credentials.config_file().write_text(json.dumps(content))


def test_what_is_kept_is_found_again() -> None:
    assert credentials.find("127.0.0.1:5000") is None
    credentials.store("127.0.0.1:5000", ME)
    credentials.store("docker.io", Credentials("hub", "x"))
    assert credentials.find("127.0.0.1:5000") == ME
    assert credentials.find("docker.io") == Credentials("hub", "x")
    assert credentials.find("127.0.0.1:5001") is None
    assert set(written()["auths"]) == {"127.0.0.1:5000", "https://index.docker.io/v1/"}
    assert credentials.erase("127.0.0.1:5000") is True
    assert credentials.erase("127.0.0.1:5000") is False
    assert credentials.find("127.0.0.1:5000") is None


def test_nobody_else_reads_it_and_other_keys_stay() -> None:
    config(auths={"other.example": {"auth": "eDp5"}}, detachKeys="ctrl-e,e")
    os.chmod(credentials.config_file(), 0o644)
    credentials.store("127.0.0.1:5000", ME)
    assert stat.S_IMODE(credentials.config_file().stat().st_mode) == 0o600
    assert written()["detachKeys"] == "ctrl-e,e"
    assert credentials.find("other.example") == Credentials("x", "y")
    assert [file.name for file in credentials.config_file().parent.iterdir()] == ["config.json"]


def test_a_secret_is_not_shown() -> None:
    assert "cret" not in repr(ME)


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    config()
    credentials.config_file().rename(tmp_path / "elsewhere.json")
    credentials.config_file().symlink_to(tmp_path / "elsewhere.json")
    credentials.store("127.0.0.1:5000", ME)
    assert credentials.config_file().is_symlink() and credentials.find("127.0.0.1:5000") == ME


def test_an_identity_token() -> None:
    credentials.store("registry.example", Credentials("", "token"))
    assert credentials.find("registry.example") == Credentials("", "token")
    assert written()["auths"] == {"registry.example": {"auth": "", "identitytoken": "token"}}


@pytest.mark.parametrize(
    "content",
    [{"auths": [1]}, {"auths": {"r.example": 7}}, {"auths": {"r.example": {"auth": "!"}}},
     {"auths": {"r.example": {"auth": base64.b64encode(b"no colon").decode()}}},
     {"auths": {"r.example": {"auth": 7}}}, {"credsStore": "../../bin/sh"}, {"credsStore": "not-installed"},
     {"credHelpers": "x"}],
)  # fmt: skip
def test_a_file_that_is_wrong_is_named(content: dict[str, object]) -> None:
    config(**content)
    with pytest.raises(ImageError, match=r"config\.json"):
        credentials.find("r.example")


def test_no_json_at_all() -> None:
    config()
    credentials.config_file().write_text("auths:")
    with pytest.raises(ImageError, match=r"config\.json"):
        credentials.store("r.example", ME)
    assert credentials.config_file().read_text() == "auths:"


@pytest.mark.parametrize("key", ["credsStore", "credHelpers"])
def test_a_helper_keeps_them(key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper = tmp_path / "bin" / "docker-credential-test"
    helper.parent.mkdir()
    helper.write_text(HELPER)
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{helper.parent}:{os.environ['PATH']}")
    config(**{key: "test" if key == "credsStore" else {"r.example": "test"}})
    assert credentials.find("r.example") is None
    assert (helper.parent / "asked").read_text() == "r.example"
    assert credentials.store("r.example", ME) == "docker-credential-test"
    said = {"ServerURL": "r.example", "Username": ME.username, "Secret": ME.secret}
    assert json.loads((helper.parent / "kept").read_text()) == said
    assert credentials.find("r.example") == ME
    assert "auths" not in written()
    assert credentials.erase("r.example") is True
    assert credentials.erase("r.example") is False


def test_a_helper_that_fails_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper = tmp_path / "docker-credential-broken"
    helper.write_text("#!/bin/sh\necho 'the keyring is locked' >&2\nexit 2\n")
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    config(credsStore="broken")
    with pytest.raises(ImageError, match="get failed: the keyring is locked"):
        credentials.find("r.example")


def kit(*arguments: str, text: str = "") -> tuple[int, str]:
    done = CliRunner().invoke(main, arguments, input=text)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


@pytest.mark.needs("docker-registry", "skopeo")
def test_login_is_tried_kept_and_good_for_skopeo(tmp_path: Path) -> None:
    with docker_registry(tmp_path / "r", htpasswd={"me": "right"}) as address:
        code, said = kit("login", "-u", "me", "--password-stdin", address, text="wrong\n")
        assert code == 1 and "UNAUTHORIZED" in said and "kit login" in said
        assert not credentials.config_file().exists()
        code, said = kit("login", "-u", "me", "--password-stdin", address, text="right\n")
        assert (code, said.splitlines()[-1]) == (0, "Login Succeeded")
        assert kit("tags", f"{address}/x")[1].count("NAME_UNKNOWN") == 1  # let in, and nothing there
        skopeo = ["skopeo", "list-tags", "--tls-verify=false", f"docker://{address}/x"]
        done = subprocess.run(skopeo, capture_output=True, text=True)
        assert "404 (Not Found)" in done.stderr
        assert kit("logout", address) == (0, f"Removing login credentials for {address}\n")
        code, said = kit("tags", f"{address}/x")
        assert code == 1 and "UNAUTHORIZED" in said
        done = subprocess.run(skopeo, capture_output=True, text=True)
        assert "authentication required" in done.stderr


@pytest.mark.needs("docker-registry", "skopeo")
def test_skopeos_login_is_good_for_the_kit(tmp_path: Path) -> None:
    with docker_registry(tmp_path / "r", htpasswd={"me": "right"}) as address:
        config()
        login = ["skopeo", "login", "--tls-verify=false", "-u", "me", "-p", "right", address]
        file = ["--authfile", str(credentials.config_file())]
        subprocess.run([*login, *file], check=True, capture_output=True)
        assert credentials.find(address) == Credentials("me", "right")
        assert "NAME_UNKNOWN" in kit("tags", f"{address}/x")[1]


def test_what_login_needs(tmp_path: Path) -> None:
    assert kit("login", "--password-stdin", "127.0.0.1:1", text="x")[0] == 2
    code, said = kit("login", "127.0.0.1:1", text="a:b\nx\n")
    assert code == 1 and "has no colon" in said
    assert kit("logout", "127.0.0.1:1") == (0, "Not logged in to 127.0.0.1:1\n")
