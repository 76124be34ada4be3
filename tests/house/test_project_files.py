"""The files around the code agree with each other and speak only of the product."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

PROJECT = Path(__file__).parents[2]
# Where conda-forge calls a package otherwise.
CONDA_NAMES = {"docker": "docker-py", "matplotlib": "matplotlib-base"}
REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)\s*(.*)")


def split(requirement: str) -> tuple[str, str]:
    found = REQUIREMENT.fullmatch(requirement.strip())
    assert found, requirement
    return found[1].lower(), found[2].replace(" ", "")


def tracked_files() -> list[Path]:
    answer = subprocess.run(
        ["git", "-c", f"safe.directory={PROJECT}", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    if answer.returncode:
        pytest.skip("not a git checkout, so there is no list of the project's files")
    return [PROJECT / name for name in answer.stdout.splitlines() if (PROJECT / name).is_file()]


def test_environment_yml_is_in_step_with_pyproject() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    wanted = {
        CONDA_NAMES.get(name, name): version for name, version in map(split, project["dependencies"])
    } | {"python": project["requires-python"]}
    listed = dict(map(split, yaml.safe_load((PROJECT / "environment.yml").read_text())["dependencies"]))
    listed.pop("pip")
    assert listed == wanted


def test_binder_uses_the_same_environment() -> None:
    assert (PROJECT / "binder/environment.yml").resolve() == PROJECT / "environment.yml"


def test_assets_of_the_lab_are_package_data() -> None:
    setuptools = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert setuptools["package-data"]["kit.lab"] == ["static/*"]
    assert any((PROJECT / "kit/lab/static").iterdir())


def test_no_file_speaks_of_the_machine_it_was_made_on() -> None:
    # Put together here, so that this file doesn't hold what it looks for.
    words = ["/work/" + "main", "/work/" + "shared", "/tmp/" + "plan", "debian" + ".org", "pypi" + ".org"]
    words += ["python" + "hosted", "npm" + "js"]
    wrong = []
    for file in tracked_files():
        try:
            text = file.read_text()
        except UnicodeDecodeError:
            continue  # a picture
        wrong += [f"{file.relative_to(PROJECT)}: {word}" for word in words if word in text]
    assert wrong == []


def test_scripts_are_valid_bash() -> None:
    scripts = [*PROJECT.glob("tools/*.sh"), PROJECT / "binder/postBuild", PROJECT / ".ci/run"]
    assert len(scripts) > 5
    for script in scripts:
        subprocess.run(["bash", "-n", script], check=True)


def test_every_script_can_be_run() -> None:
    sourced = {"common.sh"}
    scripts = [*PROJECT.glob("tools/*.sh"), PROJECT / "binder/postBuild", PROJECT / ".ci/run"]
    assert [one.name for one in scripts if one.name not in sourced and not one.stat().st_mode & 0o111] == []


def readme() -> str:
    return (PROJECT / "README.md").read_text()


def test_readme_shows_both_commands_and_a_screenshot_first() -> None:
    first_screen = "\n".join(readme().splitlines()[:30])
    assert "make lab" in first_screen
    assert "make test" in first_screen
    assert re.search(r"!\[[^]]{20,}\]\(docs/[^)]+\.png\)", first_screen), (
        "a screenshot with its text alternative"
    )


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md"])
def test_links_lead_somewhere(document: str) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", (PROJECT / document).read_text())
    assert [link for link in links if not (PROJECT / link).exists()] == []


def test_every_make_target_that_a_document_names_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE))
    named = set(
        re.findall(r"`(?:sudo )?make ([a-z-]+)", readme() + (PROJECT / "CONTRIBUTING.md").read_text())
    )
    assert named <= targets
