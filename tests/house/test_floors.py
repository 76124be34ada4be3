"""Who may import whom, where heavy libraries may appear, how small files stay, how fast imports are."""

import ast
import subprocess
import sys
import time
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
KIT = PROJECT / "kit"

# A room (a module or package directly below kit) and the rooms that it may import, even inside a function.
MECHANISM = {"linux", "owner", "show"}
MAY_IMPORT: dict[str, set[str]] = {
    "show": set(),
    "linux": set(),
    "owner": {"linux"},
    "namespaces": MECHANISM,
    "cgroups": MECHANISM,
    "images": MECHANISM,
    "registries": MECHANISM | {"images"},
    "containers": MECHANISM | {"cgroups", "images"},
    "engine": MECHANISM | {"cgroups", "images", "registries", "containers"},
    "preflight": MECHANISM | {"namespaces", "cgroups"},
    "checks": MECHANISM | {"namespaces", "cgroups", "images", "registries", "containers", "engine"},
    "lab": MECHANISM
    | {"namespaces", "cgroups", "images", "registries", "containers", "engine", "checks", "preflight"},
}
# A room within a room that stands higher than the rest of it: a build runs programs, an image does not.
UPSTAIRS = {"kit.images.build": {"namespaces", "cgroups"}}
TOP = {"__init__", "__main__", "cli"}  # the roof: may import every room, and no room imports it
SEEN = {"matplotlib", "ipywidgets", "anywidget"}  # what only the lab may use
HEAVY = SEEN | {"aiohttp", "dns", "docker", "pyroute2", "psutil", "IPython", "numpy", "jupyter_client"}
HEAVY |= {"nbformat", "traitlets"}


def modules() -> dict[str, Path]:
    """Dotted name -> file, for every module of the kit; a package stands for its __init__."""
    found = {}
    for file in sorted(KIT.rglob("*.py")):
        parts = file.relative_to(PROJECT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


MODULES = modules()


def room(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def statements(tree: ast.AST, inside_functions: bool) -> Iterator[ast.stmt]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.stmt):
            yield node
        is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        is_typing = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        if inside_functions or not (is_function or is_typing):
            yield from statements(node, inside_functions)


def imports(module: str, inside_functions: bool = True) -> set[str]:
    """Dotted names that a module imports; `from kit import owner` and `from . import owner`: kit.owner."""
    file = MODULES[module]
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    names: set[str] = set()
    for node in statements(ast.parse(file.read_text()), inside_functions):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, *([node.module] if node.module else [])])
            children = {f"{base}.{alias.name}" for alias in node.names}
            names |= {child for child in children if child in MODULES}
            if children - set(MODULES):  # something that is no module of the kit comes from the base itself
                names.add(base)
    return names


def test_every_room_has_its_floor() -> None:
    rooms = {room(module) for module in MODULES}
    assert rooms <= set(MAY_IMPORT) | TOP, "a new room needs its floor in MAY_IMPORT"


def test_no_room_imports_upwards() -> None:
    wrong = []
    for module in MODULES:
        here = room(module)
        if here in TOP:
            continue
        upstairs = next((place for place in UPSTAIRS if f"{module}.".startswith(f"{place}.")), "")
        allowed = MAY_IMPORT[here] | {here} | UPSTAIRS.get(upstairs, set())
        for name in imports(module):
            if name.split(".")[0] == "kit" and room(name) not in allowed:
                wrong.append(f"{module} imports {name}")
            if not upstairs and any(
                f"{name}.".startswith(f"{place}.") for place in UPSTAIRS if place.split(".")[1] == here
            ):
                wrong.append(f"{module} imports {name}, which stands above it")
    assert wrong == []


def test_floors_themselves_have_no_circle() -> None:
    tuple(TopologicalSorter(MAY_IMPORT).static_order())


def test_no_module_waits_for_itself_while_importing() -> None:
    graph = {
        name: {one for one in imports(name, inside_functions=False) if one in MODULES} for name in MODULES
    }
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as circle:
        pytest.fail("modules import each other in a circle: " + " -> ".join(circle.args[1]))


def test_only_the_lab_draws() -> None:
    wrong = [
        f"{module} imports {name}"
        for module in MODULES
        if room(module) != "lab"
        for name in imports(module)
        if name.split(".")[0] in SEEN
    ]
    assert wrong == []


def test_nobody_uses_pyplot() -> None:
    wrong = [
        module for module in MODULES if any(name.startswith("matplotlib.pyplot") for name in imports(module))
    ]
    assert wrong == []


def test_a_file_is_read_in_one_sitting() -> None:
    lines = {module: len(file.read_text().splitlines()) for module, file in MODULES.items()}
    assert {module: count for module, count in lines.items() if count > 350} == {}
    assert sum(lines.values()) < 31_000


def python(*arguments: str) -> str:
    answer = subprocess.run(
        [sys.executable, *arguments], cwd=PROJECT, capture_output=True, text=True, check=True, timeout=60
    )
    return answer.stdout


def best_milliseconds(*arguments: str, of: int = 10) -> float:
    """The best run of a whole Python process: the others measure what else the machine did."""
    best = float("inf")
    for _ in range(of):
        start = time.perf_counter()
        python(*arguments)
        best = min(best, (time.perf_counter() - start) * 1000)
    return best


def loaded_after(code: str) -> set[str]:
    return set(
        python("-c", f"import sys\n{code}\nprint('loaded:', *sys.modules)").rpartition("loaded:")[2].split()
    )


HELP = "import kit.cli\ntry: kit.cli.main(['--help'])\nexcept SystemExit: pass"


def test_import_kit_brings_nothing_heavy() -> None:
    assert loaded_after("import kit") & HEAVY == set()


def test_help_brings_nothing_heavy() -> None:
    assert loaded_after(HELP) & HEAVY == set()


def test_import_kit_takes_less_than_100_ms() -> None:
    assert best_milliseconds("-c", "import kit") < 100


def test_help_takes_less_than_200_ms() -> None:
    assert best_milliseconds("-m", "kit", "--help") < 200
