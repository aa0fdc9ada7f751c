"""What the tests of deployment share: trained files, images on disk, and questions about them."""

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from support.nets import images, net

from aimc_robust.data.dataset import DataSet
from aimc_robust.data.evaluation_images import load_evaluation_images
from aimc_robust.experiments.callbacks.progress import ExperimentProgress
from aimc_robust.experiments.evaluate.run import evaluate_models
from aimc_robust.experiments.spec.evaluation import EvaluationSpec, describe_images, parse_models, split_argument
from aimc_robust.io.toml import parse_settings
from aimc_robust.models.pretrained import load_weights, read_weights
from aimc_robust.models.registry import ModelSpec
from aimc_robust.targets.command_line import target_tables

DAY_S = 86400.0


class RecordingProgress(ExperimentProgress):
    """Keeps what an evaluation tells."""

    def __init__(self):
        self.notes, self.chips, self.began, self.explained = [], [], [], []

    def note(self, text):
        self.notes.append(text)

    def evaluating(self, model, target, *, done, chips):
        self.began.append((str(model), target, done, chips))

    def chip(self, model, target, accuracies):
        self.chips.append((str(model), target, len(accuracies)))

    def explaining(self, what, *, done, total):
        self.explained.append((what, done, total))


def write_weights(path: Path, *, away: float = 0.0, seed: int = 0) -> Path:
    """The net that labels the images, its weights moved by `away` standard deviations: another training of it."""
    state = net().state_dict()
    draw = torch.Generator().manual_seed(seed)
    moved = {
        name: value + away * value.std() * torch.randn(value.shape, generator=draw) if value.ndim > 1 else value
        for name, value in state.items()
    }
    save_file(moved, path)
    return path


def write_images(path: Path, n: int = 80) -> Path:
    """Images that the net labels right."""
    with torch.no_grad():
        np.savez(path, images=images(n)[:, 0].numpy(), labels=net()(images(n)).argmax(1).numpy())
    return path


def loaded(path: Path) -> DataSet:
    return load_evaluation_images(f"npz:{path}")


def evaluation_inputs(arguments, shown, *, devices=("rram-milo2021",), times_s=(0.0,), settings=(), **changes):
    """(question, models) of weights `FILE` or `LABEL=FILE` on devices."""
    read = [read_weights(split_argument(argument)[2]) for argument in arguments]
    models = []
    for weights in read:
        model = net()
        load_weights(model, weights, source="file")
        models.append(model)
    question = EvaluationSpec(
        models=parse_models(arguments, [weights.id for weights in read]),
        model=ModelSpec(name="nets:net"),
        images=describe_images(shown),
        targets=target_tables(devices, list(times_s), parse_settings(settings)),
        **{"chips": 4, **changes},
    )
    return question, models


def run(folder, question, models, shown, *, progress=None, notes=(), **options):
    """The evaluation, in this process with one thread unless `jobs` says otherwise."""
    options = {"jobs": 1, **options}
    return evaluate_models(question, models, shown, folder, progress=progress, notes=notes, **options)
