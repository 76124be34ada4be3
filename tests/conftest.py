"""Round every test stands the leak check; a test says with ``needs`` what it takes from the machine."""

from __future__ import annotations

import gc
import os
import shutil
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.leaks import left_since, look

settings.register_profile("kit", database=None)  # nothing is kept from run to run, and nothing written here
settings.load_profile("kit")
REQUIRE_PRIVILEGES = os.environ.get("KIT_REQUIRE_PRIVILEGES") == "1"


def _have(need: str) -> bool:
    if need == "root":
        return os.geteuid() == 0
    return shutil.which(need) is not None  # a program, by its name


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs(*names): 'root', or programs that must be installed")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what this machine can't run; with KIT_REQUIRE_PRIVILEGES=1 a skip is a failure."""
    for marker in item.iter_markers("needs"):
        missing = [need for need in marker.args if not _have(need)]
        if missing:
            reason = f"needs {', '.join(missing)}"
            if REQUIRE_PRIVILEGES:
                pytest.fail(
                    f"{reason}, and KIT_REQUIRE_PRIVILEGES=1 says that it must be here", pytrace=False
                )
            pytest.skip(reason)


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """Mounts, cgroups, links, namespaces, processes and temporary files: after = before."""
    before = look()
    yield
    gc.collect()
    left = left_since(before)
    assert not left, "left behind: " + "; ".join(left)
