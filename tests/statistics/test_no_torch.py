"""The statistics import no torch: tables can be analysed without it, and in a fraction of the time."""

import subprocess
import sys
from pathlib import Path

import aimc_robust.statistics

MODULES = sorted(
    f"aimc_robust.statistics.{path.stem}" for path in Path(aimc_robust.statistics.__path__[0]).glob("*.py")
)

SCRIPT = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name.removesuffix(".__init__"))
    assert "torch" not in sys.modules, f"{name} imports torch"
"""


def test_no_module_of_the_statistics_imports_torch():
    assert len(MODULES) > 5
    done = subprocess.run([sys.executable, "-c", SCRIPT, *MODULES], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
