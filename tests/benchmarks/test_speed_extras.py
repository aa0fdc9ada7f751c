"""Without the packages of extras, every speed script loads, or says which extra it needs."""

import subprocess
import sys

import pytest
from support.benchmark_scripts import BENCHMARKS

OPTIONAL = {"lightning", "pyarrow", "ray", "simulator", "tensorboard", "timm", "torchvision", "transformers"}
LOAD = f"""
import importlib.util, pathlib, sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {OPTIONAL!r}:
            raise ImportError(name)

sys.meta_path.insert(0, Refuse())
sys.path.insert(0, sys.argv[1])
for path in sorted(pathlib.Path(sys.argv[1]).glob("*.py")):
    spec = importlib.util.spec_from_file_location("script", path)
    try:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
    except SystemExit as stop:
        print(path.stem, stop)
"""


@pytest.mark.slow
def test_scripts_load_or_name_their_extra():
    command = [sys.executable, "-c", LOAD, str(BENCHMARKS / "speed")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    needs = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert needs.keys() == {"bert_weight_errors", "loader"}
    assert "aimc-robust[huggingface]" in needs["bert_weight_errors"]
    assert "aimc-robust[vision]" in needs["loader"]
