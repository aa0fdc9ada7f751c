"""What the specs of a comparison and of an evaluation have in common."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar

import pydantic

from aimc_robust.data.spec import data_source
from aimc_robust.evaluation.monte_carlo import MAX_CHIPS
from aimc_robust.experiments.results.trial import Trial
from aimc_robust.experiments.spec.task import SCORE, TaskEntry, default_task
from aimc_robust.io.table_model import as_validation_error
from aimc_robust.io.toml import StrictModel
from aimc_robust.io.user_code import is_reference, source_digest
from aimc_robust.targets.target import Target
from aimc_robust.tasks.metrics import metric_columns


def _check_metrics(names: list[str]) -> list[str]:
    metric_columns(names)
    return names


class ExperimentSpec(StrictModel):
    """Trained models x targets x chips. `kind` distinguishes stored files, `chip_seed` is the chips' root seed.

    Attributes:
        task: What the models are for and what is scored, see `spec.task`.
        metrics: Further metrics of each row: names of `tasks.metrics.METRICS`, or `package.module:function`.
        code_digests: Digests of the user's own metrics, task and data, and of files of weights, recorded with results.
    """

    stored_keys: ClassVar[frozenset[str]] = frozenset({"kind", "code_digests", "overrides"})

    kind: str
    task: TaskEntry = pydantic.Field(default_factory=default_task)
    chip_seed: int = 0
    chips: int = pydantic.Field(default=25, ge=1, le=MAX_CHIPS)
    metrics: Annotated[list[str], pydantic.AfterValidator(_check_metrics)] = pydantic.Field(default_factory=list)
    code_digests: dict[str, str] = pydantic.Field(default_factory=dict)

    @pydantic.model_validator(mode="before")
    @classmethod
    def _record_code(cls, values: Any) -> Any:
        """Note the present code of metrics, task and data, so that results are not continued with changed code."""
        if not isinstance(values, dict):
            return values
        metrics, known = values.get("metrics", []), values.get("code_digests", {})
        if not isinstance(metrics, list) or not isinstance(known, dict):
            return values  # types are checked next
        task, methods = values.get("task"), values.get("methods")
        tables = [values, *methods.values()] if isinstance(methods, dict) else [values]
        data = [table.get("data") for table in tables if isinstance(table, dict)]
        names = [*metrics, *(task.get(key) for key in ("kind", "score") if isinstance(task, dict))]
        own = [name for name in names if isinstance(name, str) and is_reference(name)]
        names = [table.get("name") for table in data if isinstance(table, dict)]
        own += [name for name in names if isinstance(name, str) and data_source(name) == "function"]
        digests = {name: digest for name in own if (digest := source_digest(name)) is not None}
        return values | {"code_digests": digests | known}

    @pydantic.model_validator(mode="after")
    def _check_task(self) -> ExperimentSpec:
        """Check what task and metrics say together; what a task of the user's own says, where it is first used."""
        if self.task.kind == SCORE and self.metrics:
            raise ValueError(f"metrics: further metrics of a {SCORE} are keys of what it returns, got {self.metrics}")
        if self.task.code is None:
            with as_validation_error("metrics"):
                self.task.build().require_other_columns(metric_columns(self.metrics))
        return self

    @property
    @abstractmethod
    def trials(self) -> list[Trial]:
        """The trained models, in the order in which they are evaluated."""

    @abstractmethod
    def build_targets(self) -> Sequence[Target]:
        """Build the targets, in order."""

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """Return what must be equal for a run to continue in a folder, as plain values."""

    def differences(self, other: ExperimentSpec) -> list[str]:
        """Return the dotted keys of `identity` that differ, each with both values if these are short."""
        return list(_differences(self.identity(), other.identity()))

    def run_identity(self) -> dict[str, Any]:
        """Return what must be equal for the rows of one model to be continued, as plain values."""
        return self.identity()

    def differences_to_continue(self, stored: ExperimentSpec) -> list[str]:
        """Return what keeps the results of the spec `stored` from being continued, see `differences`."""
        return stored.differences(self)

    @property
    def labels(self) -> list[str]:
        """Labels of the models, each once, in order."""
        return list(dict.fromkeys(trial.model for trial in self.trials))


def _differences(first: Any, second: Any, path: str = "") -> Iterator[str]:
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        for key in [*first, *(key for key in second if key not in first)]:
            yield from _differences(first.get(key), second.get(key), f"{path}.{key}" if path else str(key))
    elif path == "targets" and len(first) == len(second):
        for number, pair in enumerate(zip(first, second, strict=True)):
            yield from _differences(*pair, f"{path}.{number}")
    elif first != second and (code := re.search(r"(?<=code_digests\.).+", path)):
        yield f"the {'code of' if is_reference(code[0]) else 'file'} {code[0]}"
    elif first != second:
        is_short = max(len(repr(first)), len(repr(second))) <= 40
        yield f"{path}: {first!r} and {second!r}" if is_short else path
