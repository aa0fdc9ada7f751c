"""Each floor of the package imports only what lies below it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import aimc_robust

PACKAGE = Path(aimc_robust.__file__).parent

BASE = frozenset({"cores", "errors", "seeding", "toml_files", "files", "metrics"})
# Bottom to top. Names that share a floor may not import each other, except in the base.
FLOORS = (
    BASE,
    frozenset({"noise"}),
    frozenset({"devices", "training"}),
    frozenset({"hardware", "analysis"}),
    frozenset({"evaluation", "fitting", "lightning"}),
    frozenset({"bench"}),
    frozenset({"advice", "deployment"}),
    frozenset({"report"}),
    frozenset({"cli"}),
    frozenset({"__main__"}),
)
HEIGHT = {name: height for height, names in enumerate(FLOORS) for name in names}


def imported_tops(source: str, package: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    """(line, top-level name) of each import from aimc_robust, wherever it stands; `package` holds the file.

    The package itself may be imported for its dunders, such as `__version__`; any other attribute counts as imported.
    """
    tree = ast.parse(source)
    whole = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            targets = [alias.name.split(".") for alias in node.names]
            whole |= {alias.asname or alias.name for alias in node.names if alias.name == "aimc_robust"}
        elif isinstance(node, ast.ImportFrom):
            above = list(package[: len(package) - node.level + 1]) if node.level else []
            stem = above + (node.module.split(".") if node.module else [])
            targets = [[*stem, alias.name] for alias in node.names]
        else:
            continue
        yield from ((node.lineno, target[1]) for target in targets if target[0] == "aimc_robust" and len(target) > 1)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in whole:
            yield node.lineno, node.attr


def offences(source: str, path: str) -> list[str]:
    """What the file `path` (relative to the package) imports that does not lie below it."""
    parts = Path(path).with_suffix("").parts
    home = parts[0]
    if home not in HEIGHT:
        return [f"{path}: {home!r} stands on no floor; place it in FLOORS"]
    found = []
    for line, top in imported_tops(source, ("aimc_robust", *parts[:-1])):
        below = HEIGHT.get(top, len(FLOORS)) < HEIGHT[home]
        dunder = top.startswith("__") and top not in HEIGHT
        if not (top == home or {top, home} <= BASE or below or dunder):
            found.append(f"{path}:{line}: {home} imports {top}, which does not lie below it")
    return found


SOURCES = sorted(
    str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py"
)  # the package's own __init__ is the lazy public surface above every floor


@pytest.mark.parametrize("path", SOURCES)
def test_a_file_imports_only_what_lies_below_it(path):
    assert offences((PACKAGE / path).read_text(encoding="utf-8"), path) == []


def test_the_checker_has_seen_the_package():
    assert {Path(path).parts[0].removesuffix(".py") for path in SOURCES} >= {"errors", "noise", "devices", "hardware"}


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("noise/gaussian.py", "from aimc_robust.hardware.config.crossbar import Crossbar"),
        ("noise/gaussian.py", "import aimc_robust.evaluation.monte_carlo as chips"),
        ("noise/gaussian.py", "from aimc_robust import training"),
        ("noise/gaussian.py", "from aimc_robust import Crossbar"),
        ("noise/gaussian.py", "import aimc_robust as ar\ncrossbar = ar.Crossbar"),
        ("noise/gaussian.py", "from aimc_robust import __main__"),
        ("noise/gaussian.py", "from ..devices import card"),
        ("noise/gaussian.py", "from .. import devices"),
        ("noise/gaussian.py", "def late():\n    from aimc_robust.training import loop"),
        ("noise/gaussian.py", "if TYPE_CHECKING:\n    from aimc_robust.devices.card import Card"),
        ("devices/card.py", "from aimc_robust.training import RWP"),
        ("training/rwp.py", "from aimc_robust.devices import Card"),
        ("hardware/fold.py", "from aimc_robust.analysis import sharpness"),
        ("analysis/sharpness.py", "from aimc_robust.hardware import Crossbar"),
        ("errors.py", "from aimc_robust.noise import Gaussian"),
        ("bench/runs.py", "from aimc_robust.brand_new import thing"),
        ("brand_new/thing.py", ""),
    ],
)
def test_the_checker_finds_an_offence(path, source):
    assert len(offences(source, path)) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("toml_files.py", "from aimc_robust.errors import InputError"),
        (
            "hardware/fold.py",
            "from aimc_robust.noise.analog_weights import ANALOG_LAYERS\nfrom .coverage import Coverage",
        ),
        ("analysis/sharpness.py", "from aimc_robust.training.methods.sam import SAM"),
        ("bench/environment.py", "from aimc_robust import __version__\nimport torch"),
        ("bench/environment.py", "import aimc_robust\nversion = aimc_robust.__version__"),
        ("__main__.py", "from aimc_robust.cli import main"),
    ],
)
def test_the_checker_lets_honest_imports_pass(path, source):
    assert offences(source, path) == []
