"""Sharpness and Hessian spectrum of the trained models of a comparison, as rows in its results folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import torch

from aimc_robust.analysis.hessian_spectrum import hessian_spectrum
from aimc_robust.analysis.loss_landscape import mean_loss
from aimc_robust.analysis.sharpness import ascent_sharpness, average_sharpness
from aimc_robust.data.batches import split_batches
from aimc_robust.data.dataset import DataSet, Split
from aimc_robust.data.lazy import to_device
from aimc_robust.data.loading import load_data
from aimc_robust.data.selection import select_examples
from aimc_robust.errors import ResultsError, names_arguments, require_finite, require_whole
from aimc_robust.experiments.execution.start import build_start
from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.experiments.results.files import ANALYSIS, lock_folder
from aimc_robust.experiments.results.rows import finite, read_analyses
from aimc_robust.experiments.results.trial import Trial
from aimc_robust.experiments.spec.comparison import ComparisonSpec
from aimc_robust.experiments.spec.files import with_file_digests
from aimc_robust.io.atomic import Row, append_rows
from aimc_robust.models.checkpoint import tensor_digest
from aimc_robust.noise.distributions import Gaussian
from aimc_robust.noise.perturbation import evaluation_mode
from aimc_robust.seeding import Axes
from aimc_robust.training.resumption import load_selection


@names_arguments
@dataclass(frozen=True, kw_only=True)
class AnalysisSettings:
    """What is measured; the values are recorded in each row.

    Args:
        split: The images that the loss is over.
        images: Size of a random subset, the same for all models; None: all.
        sigma: Strength of the average direction's noise, of scale filter_max (Incorruptible paper, Eq. 2).
        draws: Its draws for each minibatch.
        rho: Radius of the ascent direction over all parameters (Eq. 1).
        m: Size of the minibatches of both.
        eigenvalues: Number of eigenvalues of the Hessian over all parameters.
        steps: Lanczos steps, each a pass over the images.
        probes: Start vectors of the spectral density.
    """

    split: Split = "training"
    images: int | None = None
    sigma: float = 0.02
    draws: int = 5
    rho: float = 0.05
    m: int = 128
    eigenvalues: int = 5
    steps: int = 80
    probes: int = 1

    def __post_init__(self) -> None:
        require_finite("sigma", self.sigma)
        require_finite("rho", self.rho)
        for name in ("draws", "m", "steps", "probes"):
            require_whole(name, getattr(self, name), low=1)
        require_whole("eigenvalues", self.eigenvalues, low=1, high=self.steps)
        if self.images is not None:
            require_whole("images", self.images, low=1)


def analyze(
    spec: ComparisonSpec,
    folder: Path,
    settings: AnalysisSettings,
    *,
    data_folder: Path = Path(),
    device: torch.device | str = "cpu",
    on_status: Callable[[str], None] = lambda line: None,
) -> dict[Trial, Row]:
    """Measure every trained model of a comparison at the first of its selected epochs, in evaluation mode.

    The loss is that of the task, without label smoothing and augmentation. A model that has a row of these settings
    and weights is not measured again.

    Returns:
        Trial -> its row, see `results.rows.ANALYSIS_ROW`.

    Raises:
        ResultsError: If the folder holds results of another spec, or no trained model.
    """
    results = ComparisonResults(folder, with_file_digests(spec, data_folder))
    results.check()
    trained = [trial for trial in results.trials if results.is_trained(trial)]
    if not trained:
        raise ResultsError(f"{folder} holds no trained model; run `compare` with this spec and folder first.")

    @cache
    def data_of(label: str) -> DataSet:
        return load_data(spec.data_of(label), data_seed=spec.data_seed, folder=data_folder, task=results.task)

    rows: dict[Trial, Row] = {}
    with lock_folder(folder):
        for trial in trained:
            on_status(f"analyzing {trial}")
            rows[trial] = _analyze_trial(results, trial, data_of(trial.model), settings, data_folder, device)
    return rows


def _analyze_trial(
    results: ComparisonResults,
    trial: Trial,
    data: DataSet,
    settings: AnalysisSettings,
    data_folder: Path,
    device: torch.device | str,
) -> Row:
    spec, task, folder = results.spec, results.task, results.run_folder(trial)
    model, _ = build_start(spec.model_of(trial.model), data, data_folder, seed=trial.train_seed, task=task)
    load_selection(folder, model, spec.config_of(trial.model).selections, 0)
    key = {"settings": asdict(settings), "model_digest": tensor_digest(model.state_dict())}
    for row in read_analyses(folder):
        if {name: row[name] for name in key} == key:
            return row
    model = model.to(device)
    inputs, labels = data.split(settings.split)
    if settings.images is not None:
        order = torch.randperm(len(labels), generator=Axes(spec.data_seed).at(use="analysis").generator())
        inputs, labels = select_examples((inputs, labels), order[: settings.images])
    batches = split_batches((to_device(inputs, device), labels.to(device)), min(settings.m, task.batch_size))
    m = min(settings.m, len(labels))
    with evaluation_mode(model):
        average = average_sharpness(model, task, batches, Gaussian(settings.sigma), draws=settings.draws, m=m)
        ascent = ascent_sharpness(model, task, batches, rho=settings.rho, m=m, scope="all")
        loss = mean_loss(model, task, batches)
    spectrum = hessian_spectrum(
        model, task, batches, eigenvalues=settings.eigenvalues, steps=settings.steps, probes=settings.probes
    )
    row = {
        **key,
        "loss": loss,
        "average_sharpness": average,
        "ascent_sharpness": ascent,
        "parameters": spectrum.parameters,
        "eigenvalues": list(spectrum.eigenvalues),
        "errors": list(spectrum.errors),
        "lowest": spectrum.lowest,
        "trace": spectrum.trace,
        "nodes": spectrum.nodes.tolist(),
        "weights": spectrum.weights.tolist(),
    }
    append_rows(folder / ANALYSIS, [finite(row)])
    return row
