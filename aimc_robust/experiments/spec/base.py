"""What the specs of a comparison and of an evaluation have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pydantic

from aimc_robust.experiments.results.trial import Trial
from aimc_robust.io.toml import StrictModel
from aimc_robust.targets.target import Target


class ExperimentSpec(StrictModel):
    """Trained models x targets x chips. `kind` distinguishes stored files, `chip_seed` is the chips' root seed."""

    kind: str
    chip_seed: int = 0
    chips: int = pydantic.Field(default=25, ge=1, le=1_000_000)

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

    @property
    def labels(self) -> list[str]:
        """Labels of the models, each once, in order."""
        return list(dict.fromkeys(trial.model for trial in self.trials))


def _differences(first: Any, second: Any, path: str = "") -> Iterator[str]:
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        for key in [*first, *(key for key in second if key not in first)]:
            yield from _differences(first.get(key), second.get(key), f"{path}.{key}" if path else str(key))
    elif first != second:
        is_short = max(len(repr(first)), len(repr(second))) <= 40
        yield f"{path}: {first!r} and {second!r}" if is_short else path
