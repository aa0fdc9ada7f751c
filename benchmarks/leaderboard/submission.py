"""A submission: a folder that `aimc-robust pack` writes, with the trained weights and who sent it.

submissions/NAME/
    spec.toml, environment.json, summary.csv, report.md, rows.tar.xz    as `aimc-robust pack` writes them
    weights.safetensors                                                 of all trained models, in float32
    submission.toml                                                     who, and what the methods are
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import copytree

import pydantic
import tomli_w

from aimc_robust.errors import InputError
from aimc_robust.experiments.results.archive import ARCHIVE, pack, unpack
from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.experiments.results.trial import Trial
from aimc_robust.io.atomic import atomic_write
from aimc_robust.io.toml import StrictModel, read_toml
from aimc_robust.io.user_code import user_code
from aimc_robust.models.checkpoint import Tensors, read_checkpoint, write_checkpoint
from aimc_robust.training.resumption import FINISHED

from .benchmark import check_fixed_part, fixed_part

SUBMISSIONS = "submissions"  # folder beside the benchmark
WEIGHTS, ABOUT = "weights.safetensors", "submission.toml"
NAME = r"[a-z0-9][a-z0-9-]{0,39}"


class About(StrictModel):
    """Who sent a submission, and what its methods are, in a line each."""

    who: str = pydantic.Field(min_length=1, max_length=200, pattern=r"^[^\r\n]+$")
    what: str = pydantic.Field(min_length=1, max_length=400, pattern=r"^[^\r\n]+$")


@dataclass(frozen=True)
class Submission:
    """An opened submission.

    Attributes:
        name: Name of its folder.
        about: Who sent it, and what its methods are.
        results: Its rows, unpacked in a temporary folder.
        weights: Trained weights: names of a model's tensors start with `METHOD-seedN/`.
    """

    name: str
    about: About
    results: ComparisonResults
    weights: Tensors

    def weights_of(self, trial: Trial) -> Tensors:
        """Return the tensors of one trained model; empty if they are missing."""
        prefix = f"{trial}/"
        return {name.removeprefix(prefix): value for name, value in self.weights.items() if name.startswith(prefix)}


@contextmanager
def opened(folder: Path) -> Iterator[Submission]:
    """Open a submission. No code that its spec names is imported.

    Raises:
        InputError: if a file is missing or its spec names code to import.
        AimcError: if a file is damaged.
    """
    missing = [name for name in (ARCHIVE, WEIGHTS, ABOUT) if not (folder / name).is_file()]
    if missing:
        raise InputError(f"{folder} has no {', '.join(missing)}; `submit` writes a complete folder.")
    about = read_toml(folder / ABOUT, About, kind="submission")
    with tempfile.TemporaryDirectory() as temporary, user_code(False):
        copy = Path(copytree(folder, Path(temporary) / folder.name))
        unpack(copy)
        yield Submission(folder.name, about, ComparisonResults.open(copy), read_checkpoint(copy / WEIGHTS)[0])


def submit(results_folder: Path, benchmark: Path, name: str, about: About) -> Path:
    """Write the submission `name` from a results folder of `compare` that is finished and has its report.

    Raises:
        InputError: if the name is invalid or taken, the spec is not of the benchmark, or weights are missing.
        ResultsError: if rows or the report are missing.
    """
    out = benchmark.parent / SUBMISSIONS / name
    if not re.fullmatch(NAME, name):
        raise InputError(f"the name must be 1 to 40 signs of a-z, 0-9 and -, the first none of -, got {name!r}.")
    if out.exists():
        raise InputError(f"there is a submission {name} already; give another --name, or delete its folder.")
    results = ComparisonResults.open(results_folder)
    check_fixed_part(results.spec, fixed_part(benchmark))
    tensors: Tensors = {}
    for trial in results.trials:
        path = results.run_folder(trial) / FINISHED
        if not path.is_file() or not results.is_evaluated(trial):
            raise InputError(f"{trial} is not finished in {results_folder}; run `aimc-robust compare` again first.")
        tensors |= {f"{trial}/{name}": value for name, value in read_checkpoint(path)[0].items()}
    pack(results_folder, out)
    write_checkpoint(out / WEIGHTS, tensors, {"trials": [str(trial) for trial in results.trials]})
    atomic_write(out / ABOUT, tomli_w.dumps(about.model_dump()))
    return out
