"""The options of `compare` that say where trials run, and the engine that they describe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from aimc_robust.errors import InputError, require_known

if TYPE_CHECKING:
    from aimc_robust.experiments.execution.engines.base import Engine

EngineName = Literal["local", "ray"]


@dataclass(frozen=True)
class EngineOptions:
    """Options of an engine, checked.

    Attributes:
        name: `local` or `ray`.
        jobs: Number of trials that run at a time on this machine; None: one, in this process.
        threads: Threads of torch per trial; None: as many as the cores allow.
        ray_address: Address of the Ray cluster.
        cpus: Cores of each trial on Ray.
        gpus: GPUs of each trial on Ray.

    Raises:
        UnknownNameError: If the engine is unknown.
        InputError: If an option does not apply to the engine.
    """

    name: str
    jobs: int | None = None
    threads: int | None = None
    ray_address: str | None = None
    cpus: int = 1
    gpus: float | None = None

    def __post_init__(self) -> None:
        """Check the options."""
        require_known("engine", self.name, get_args(EngineName))
        if self.name == "ray" and (self.jobs is not None or self.threads is not None):
            raise InputError("--jobs and --threads need --engine local; on Ray, set --cpus and --gpus of each trial.")
        if self.name != "ray" and (self.ray_address is not None or self.cpus != 1 or self.gpus is not None):
            raise InputError("--ray-address, --cpus and --gpus need --engine ray.")

    def preload(self) -> None:
        """Start to import torch for the worker processes, in parallel with the imports of this process."""
        if self.jobs is not None and self.name == "local":
            from aimc_robust.experiments.execution.forkserver import begin_imports

            begin_imports()

    def build(self) -> Engine:
        """Return the engine."""
        from aimc_robust.experiments.execution.engines.local import LocalEngine
        from aimc_robust.experiments.execution.engines.ray import RayEngine
        from aimc_robust.experiments.execution.engines.serial import SerialEngine

        if self.name == "ray":
            return RayEngine(address=self.ray_address, cpus=self.cpus, gpus=self.gpus)
        return SerialEngine(threads=self.threads) if self.jobs is None else LocalEngine(self.jobs, self.threads)


def parse_part(text: str) -> tuple[int, int]:
    """Parse the option --part.

    Args:
        text: `I/N`, such as `1/3`.

    Returns:
        (I, N).

    Raises:
        InputError: If the text has another form, or I is not from 1 to N.
    """
    number, slash, parts = text.partition("/")
    if not (slash and number.isdecimal() and parts.isdecimal() and 1 <= int(number) <= int(parts)):
        raise InputError(f"--part must be I/N with I from 1 to N, such as 1/3, got {text!r}.")
    return int(number), int(parts)
