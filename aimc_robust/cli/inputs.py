"""What a command line names: weights into models, and functions of a user's modules."""

from collections.abc import Sequence

from torch import nn

from aimc_robust.data.evaluation_set import EvaluationImages
from aimc_robust.errors import InputError
from aimc_robust.experiments.spec.evaluation import TrainedModel, parse_models, split_label
from aimc_robust.io.user_code import import_callable
from aimc_robust.metrics import Metric
from aimc_robust.models.pretrained import load_weights, read_weights
from aimc_robust.models.registry import build_model
from aimc_robust.models.spec import ModelSpec


def load_models(
    arguments: Sequence[str], spec: ModelSpec, images: EvaluationImages
) -> tuple[list[TrainedModel], list[nn.Module], list[str]]:
    """(names, models in evaluation mode, remarks on how each was read) of arguments `FILE` or `LABEL=FILE`."""
    read = [read_weights(split_label(argument)[1]) for argument in arguments]
    named = parse_models(arguments, [weights.id for weights in read])
    models, remarks = [], []
    for model, weights in zip(named, read, strict=True):
        built = build_model(spec, images, seed=0)
        remarks += [
            f"{model.file}: {note}." for note in (*weights.notes, *load_weights(built, weights, source=model.file))
        ]
        models.append(built.eval())
    return named, models, remarks


def metrics_from(names: Sequence[str]) -> dict[str, Metric]:
    """Function name -> function, of texts `package.module:function`."""
    found: dict[str, Metric] = {}
    for text in names:
        module, colon, name = text.partition(":")
        if not colon or not module or not name:
            raise InputError(f"a metric is package.module:function, got {text!r}.")
        if name in found:
            raise InputError(f"two metrics are called {name}; rename one of the functions.")
        found[name] = import_callable(text, what="metric")
    return found
