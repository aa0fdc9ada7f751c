"""What a process needs to run trials."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from aimc_robust.training.fabric import Machine


@dataclass(frozen=True)
class RunContext:
    """Everything that a process needs to run trials of one comparison. Can be sent to other processes and machines.

    Attributes:
        folder: The results folder; it must hold the spec.
        data_folder: Where relative data paths start.
        model_cache: Folder of trained models that several comparisons share; None: each trial is trained anew.
        machine: Devices and processes that train one model.
        retry_failed: Run failed trials again.
    """

    folder: Path
    data_folder: Path
    model_cache: Path | None = None
    machine: Machine = field(default_factory=Machine)
    retry_failed: bool = False
