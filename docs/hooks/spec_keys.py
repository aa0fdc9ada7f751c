"""What the docstrings of the package say of each key of a spec."""

import inspect
import re
from itertools import chain

from pydantic import BaseModel

from aimc_robust.experiments.spec.comparison import ComparisonSpec

SECTION = re.compile(r"^(?:Args|Attributes):\n((?:    .*\n?|\n)+)", re.MULTILINE)
OVERRIDES = {"DataOverride": "DataSpec", "ModelOverride": "ModelSpec", "TrainingOverride": "TrainingTable"}
WITHOUT_DOCSTRING = {
    "backend": "Simulator: this package, or CrossSim.",
    "better": "Whether higher or lower scores are better.",
    "chip_seed": "Root seed of the simulated chips.",
    "chips": "Number of simulated chips of each model.",
    "compensation": "What undoes the mean of the drift; the target without it is evaluated too.",
    "crop": "Pixels that images are padded by before a random crop.",
    "cutout": "Side of the square that is erased [pixels].",
    "cutout_probability": "Share of the images of which a square is erased.",
    "fold": "Multiply the gain of a BatchNorm into the weights before it.",
    "kind": "What kind of table this is.",
    "layers": "Layers that are digital or on another crossbar: pattern over names -> `digital`, a device, or a table.",
    "metric": "Name of the score.",
    "name": "Name of the target; that of the device or noise if it is left out.",
    "noise": "Kind of the noise.",
    "preset": "Published setting of a crossbar whose keys this table starts from.",
    "radius": "L2 length of the perturbation of all weights.",
    "run": "Number of updates of the run that `updates` is a part of.",
    "scale": "What the strength is relative to.",
    "time_s": "Time since programming [s].",
    "unit": "Unit of the score.",
}


def spec_models():
    """Return the model of each table of a spec by its name in the schema, and of the spec itself as ``."""
    found = {model.__name__: model for model in _models(ComparisonSpec.__pydantic_core_schema__)}
    return found | {"": ComparisonSpec}


def _models(schema):
    """Yield the models within a core schema of pydantic."""
    if isinstance(schema, dict):
        model = schema.get("cls")
        if isinstance(model, type) and issubclass(model, BaseModel):
            yield model
        schema = list(schema.values())
    if isinstance(schema, (list, tuple)):
        yield from chain.from_iterable(map(_models, schema))


def meanings(model):
    """Return what docstrings say of the keys of a table, key -> text.

    They are those of the class whose arguments the keys are (`Table.target`), and those of the table, which go first.
    """
    target = getattr(model, "target", None)
    classes = [*reversed(getattr(target, "__mro__", ())), *reversed(model.__mro__)]
    said = {key: text for one in classes for key, text in _entries(vars(one).get("__doc__") or "")}
    return WITHOUT_DOCSTRING | said


def _entries(docstring):
    for section in SECTION.findall(inspect.cleandoc(docstring)):
        for entry in re.split(r"^ {4}(?=\w)", section, flags=re.MULTILINE)[1:]:
            keys, _, text = entry.partition(": ")
            for key in keys.split(", "):
                yield key, " ".join(text.split())
