"""Each floor of the package imports only what lies below it, and no files import each other in a circle."""

import ast
import functools
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import aimc_robust

PACKAGE = Path(aimc_robust.__file__).parent

# Bottom to top. Folders of one floor may not import each other.
FLOORS = (
    {"errors", "seeding", "philox_constants", "philox_triton", "float32_convolutions"},
    {"numba_kernels"},
    {"philox"},
    {"random_numbers"},
    {"io", "parallel", "statistics", "noise"},
    {"tasks"},
    {"data", "models", "devices"},
    {"hardware"},
    {"training"},  # methods train through arrays
    {"analysis", "fitting", "integrations"},
    {"evaluation"},
    {"targets", "plot"},
    {"experiments"},
    {"report"},
    {"cli"},
    {"__main__"},
)
HEIGHT = {name: height for height, names in enumerate(FLOORS) for name in names}


def module_name(path: str) -> str:
    """`noise/distributions.py` -> `aimc_robust.noise.distributions`."""
    return ".".join(("aimc_robust", *Path(path).with_suffix("").parts)).removesuffix(".__init__")


@functools.cache
def imports(source: str, path: str) -> tuple[tuple[int, str], ...]:
    """(line, dotted name) of each import from aimc_robust, wherever it stands in the file `path`.

    `from a import b` gives `a.b`. Attributes of the package itself count as imported.
    """
    return tuple(_imports(ast.parse(source), path))


def _imports(tree: ast.Module, path: str) -> Iterator[tuple[int, str]]:
    package = ("aimc_robust", *Path(path).parts[:-1])
    aliases = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
            aliases |= {alias.asname or alias.name for alias in node.names if alias.name == "aimc_robust"}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            stem = ".".join((*above, *([node.module] if node.module else [])))
            names = [f"{stem}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from ((node.lineno, name) for name in names if name.startswith("aimc_robust."))
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in aliases:
            yield node.lineno, f"aimc_robust.{node.attr}"


def upward_imports(source: str, path: str) -> list[str]:
    """What the file `path` (relative to the package) imports that is not below it."""
    home = Path(path).with_suffix("").parts[0]
    if home not in HEIGHT:
        return [f"{path}: {home!r} is on no floor; add it to FLOORS"]
    found = []
    for line, name in imports(source, path):
        top = name.split(".")[1]
        dunder = top.startswith("__") and top not in HEIGHT  # such as __version__
        if top != home and not dunder and HEIGHT.get(top, len(FLOORS)) >= HEIGHT[home]:
            found.append(f"{path}:{line}: {home} imports {top}, which is not below it")
    return found


def circle(sources: dict[str, str]) -> list[str]:
    """Modules that import each other in a circle, or nothing; `sources` maps each path to its text."""
    modules = {module_name(path) for path in sources}
    graph: dict[str, set[str]] = {}
    for path, source in sources.items():
        needed = {name if name in modules else name.rpartition(".")[0] for _, name in imports(source, path)}
        graph[module_name(path)] = needed & modules - {module_name(path)}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return []


# The package's own __init__ is the lazy public surface above every floor.
SOURCES = {
    str(path.relative_to(PACKAGE)): path.read_text(encoding="utf-8")
    for path in sorted(PACKAGE.rglob("*.py"))
    if path != PACKAGE / "__init__.py"
}


def test_files_import_only_what_is_below_them():
    assert [fault for path, source in SOURCES.items() for fault in upward_imports(source, path)] == []


def test_no_circle_of_files():
    assert circle(SOURCES) == []


def test_statistics_need_no_torch():
    files = [path for path in SOURCES if path.startswith("statistics/")]
    assert [path for path in files if "import torch" in SOURCES[path] or "from torch" in SOURCES[path]] == []


def test_packages_hold_a_docstring_only():
    for path, source in SOURCES.items():
        if path.endswith("__init__.py") and path not in ("cli/__init__.py", "plot/__init__.py"):
            assert len(ast.parse(source).body) == 1, path


def test_the_checker_has_seen_the_package():
    assert {Path(path).parts[0].removesuffix(".py") for path in SOURCES} == set(HEIGHT)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("noise/distributions.py", "from aimc_robust.hardware.program import program"),
        ("noise/distributions.py", "import aimc_robust.evaluation.monte_carlo as chips"),
        ("noise/distributions.py", "from aimc_robust import training"),
        ("noise/distributions.py", "from aimc_robust import Crossbar"),
        ("noise/distributions.py", "import aimc_robust as ar\ncrossbar = ar.Crossbar"),
        ("noise/distributions.py", "from aimc_robust import __main__"),
        ("noise/distributions.py", "from ..devices import card"),
        ("noise/distributions.py", "from .. import devices"),
        ("noise/distributions.py", "from aimc_robust.io.toml import read_toml"),
        ("noise/distributions.py", "def late():\n    from aimc_robust.training import loop"),
        ("noise/distributions.py", "if TYPE_CHECKING:\n    from aimc_robust.devices.card import Card"),
        ("devices/card.py", "from aimc_robust.training.methods.rwp import RWP"),
        ("hardware/program.py", "from aimc_robust.training.loop import train"),
        ("hardware/program.py", "from aimc_robust.analysis import sharpness"),
        ("errors.py", "from aimc_robust.noise.distributions import Gaussian"),
        ("report/write.py", "from aimc_robust.brand_new import thing"),
        ("brand_new/thing.py", ""),
    ],
)
def test_the_checker_finds_an_upward_import(path, source):
    assert len(upward_imports(source, path)) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("io/toml.py", "from aimc_robust.errors import InputError"),
        ("hardware/program.py", "from aimc_robust.noise.base import WeightNoise\nfrom .layers import attention"),
        ("analysis/sharpness.py", "from aimc_robust.training.methods.sam import SAM"),
        ("report/write.py", "from aimc_robust import __version__\nimport torch"),
        ("report/write.py", "import aimc_robust\nversion = aimc_robust.__version__"),
        ("__main__.py", "from aimc_robust.cli.app import main"),
    ],
)
def test_the_checker_allows_imports_from_below(path, source):
    assert upward_imports(source, path) == []


@pytest.mark.parametrize(
    "sources",
    [
        {"noise/a.py": "from aimc_robust.noise.b import x", "noise/b.py": "from aimc_robust.noise.a import y"},
        {"noise/a.py": "from aimc_robust.noise import b", "noise/b.py": "def f():\n    from . import a"},
        {
            "noise/a.py": "import aimc_robust.noise.b",
            "noise/b.py": "if TYPE_CHECKING:\n    from aimc_robust.noise.c import z",
            "noise/c.py": "from aimc_robust.noise.a import y",
        },
    ],
)
def test_the_checker_finds_a_circle(sources):
    assert len(circle(sources)) >= len(sources)


def test_the_checker_allows_a_chain():
    assert circle({"noise/a.py": "from aimc_robust.noise.b import x", "noise/b.py": "import torch"}) == []
