"""Commands that draw and compile nothing do not wait for Matplotlib and for torch's compiler, seconds each."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SLOW = ("matplotlib", "torch._dynamo", "lightning_fabric", "sklearn", "torchvision")
CODE = f"""
import sys
import aimc_robust.cli.views.evaluate, aimc_robust.cli.views.plan, aimc_robust.experiments.planning.plan
import aimc_robust.experiments.evaluate.run
from aimc_robust.cli.app import app

arguments = "coverage --model small-cnn --input 1,8,8 --classes 10 --device rram-wan2022".split()
app(arguments, standalone_mode=False)  # counts the multiplies, and folds BatchNorms
assert "torch" in sys.modules
print("loaded:", *(name for name in {SLOW} if name in sys.modules))
"""


@pytest.mark.slow
def test_a_table_of_arrays_loads_neither_matplotlib_nor_the_compiler():
    done = subprocess.run([sys.executable, "-c", CODE], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "all layers" in done.stdout
    assert done.stdout.splitlines()[-1] == "loaded:"
