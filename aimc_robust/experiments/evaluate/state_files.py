"""Files of target and programmed states of the models of an evaluation, for the programmer of a chip."""

from collections.abc import Sequence
from pathlib import Path

from torch import nn

from aimc_robust.data.dataset import DataSet
from aimc_robust.experiments.spec.evaluation import EvaluationSpec
from aimc_robust.hardware.device_states import device_states
from aimc_robust.targets.target import CrossbarTarget

FOLDER = "states"


def write_state_files(spec: EvaluationSpec, networks: Sequence[nn.Module], data: DataSet, folder: Path) -> list[Path]:
    """Write the states of chip 0 of each model on each crossbar, see `DeviceStates.save`, and return the paths.

    Raises:
        ResultsError: if a file cannot be written.
    """
    paths = []
    (folder / FOLDER).mkdir(parents=True, exist_ok=True)
    for trial, network in zip(spec.trials, networks, strict=True):
        for target in spec.build_targets():
            if not isinstance(target, CrossbarTarget):
                continue
            states = device_states(
                network,
                target.condition,
                chip_seed=spec.chip_seed,
                time_s=target.time_s,
                fold=target.deployment.fold,
                example=data.example,
            )
            paths.append(folder / FOLDER / f"{trial}-{target.name}.npz")
            states.save(paths[-1])
    return paths
