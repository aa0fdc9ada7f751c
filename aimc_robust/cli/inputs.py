"""Objects that command line arguments name: trained models and metric functions."""

from collections.abc import Sequence

from torch import nn

from aimc_robust.data.dataset import DataSet
from aimc_robust.errors import InputError
from aimc_robust.experiments.spec.evaluation import TrainedModel, parse_models, split_argument
from aimc_robust.io.user_code import import_callable, is_reference
from aimc_robust.metrics import Metric
from aimc_robust.models.pretrained import load_weights, read_weights
from aimc_robust.models.registry import ModelSpec, build_model


def load_models(
    arguments: Sequence[str], spec: ModelSpec, data: DataSet
) -> tuple[list[TrainedModel], list[nn.Module], list[str]]:
    """Build one model for each `FILE` or `LABEL=FILE` of weights, with the shapes of `data`, and load the weights.

    Returns:
        (descriptions, models in evaluation mode, notes on how the files were read).
    """
    files = [read_weights(split_argument(argument)[2]) for argument in arguments]
    descriptions = parse_models(arguments, [weights.id for weights in files])
    models: list[nn.Module] = []
    notes: list[str] = []
    for description, weights in zip(descriptions, files, strict=True):
        model = build_model(spec, data, seed=0)
        file_notes = (*weights.notes, *load_weights(model, weights, source=description.file))
        notes += [f"{description.file}: {note}." for note in file_notes]
        models.append(model.eval())
    return descriptions, models, notes


def load_metrics(references: Sequence[str]) -> dict[str, Metric]:
    """Import metric functions by their paths `package.module:function`; return function name -> function."""
    metrics: dict[str, Metric] = {}
    for reference in references:
        name = reference.partition(":")[2]
        if not is_reference(reference):
            raise InputError(f"a metric must be package.module:function, got {reference!r}.")
        if name in metrics:
            raise InputError(f"two metrics have the name {name!r}; rename one of the functions.")
        metrics[name] = import_callable(reference, what="metric")
    return metrics
