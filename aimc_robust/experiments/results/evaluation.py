"""The results folder of an evaluation: rows of chips, and of what explains them."""

from __future__ import annotations

from typing import Any, ClassVar

from aimc_robust.experiments.results.folder import ResultsFolder
from aimc_robust.experiments.spec.evaluation import EvaluationSpec
from aimc_robust.io.toml import parse
from aimc_robust.statistics.two_stage_sampling import DEFAULT_PILOT

NOTES = "notes.json"


class EvaluationResults(ResultsFolder[EvaluationSpec]):
    """Read and write the results folder of an evaluation, see `ResultsFolder`."""

    kind: ClassVar[str] = "evaluation"
    command: ClassVar[str] = "evaluate"

    @classmethod
    def parse_spec(cls, stored: dict[str, Any], source: str) -> EvaluationSpec:
        """Validate a stored spec."""
        return parse(stored, EvaluationSpec, source=source)

    @property
    def pilot(self) -> int | None:
        """Number of pilot chips that decided the number of chips; None: it is fixed."""
        return None if self.spec.precision is None else DEFAULT_PILOT
