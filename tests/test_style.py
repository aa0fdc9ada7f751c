"""The style that ruff checks, and the size at which a file asks to be split."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("check", [["check"], ["format", "--check"]])
def test_ruff_finds_nothing(check):
    done = subprocess.run([sys.executable, "-m", "ruff", *check, "."], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_no_module_has_grown_past_250_lines():
    sizes = {path: len(path.read_text().splitlines()) for path in (ROOT / "aimc_robust").rglob("*.py")}
    assert {str(path): size for path, size in sizes.items() if size > 250} == {}
