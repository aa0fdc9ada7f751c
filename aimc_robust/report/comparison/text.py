"""Sentences and phrases of a comparison's report: differences, settings of the methods, notes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from aimc_robust.errors import exact_text
from aimc_robust.experiments.spec.comparison import ComparisonSpec
from aimc_robust.experiments.spec.methods import NOISE_KEYS
from aimc_robust.report.formatting import MISSING
from aimc_robust.report.metric_text import ci_text, difference_text
from aimc_robust.report.page_model import Prose, codes
from aimc_robust.statistics.paired_difference import Comparison, PairedDifference
from aimc_robust.statistics.primary_metric import PrimaryMetric
from aimc_robust.targets.target import CrossbarTarget
from aimc_robust.training.config import TrainingConfig


def format_difference(difference: PairedDifference) -> str:
    """Format a paired difference with its sign and interval."""
    return f"{difference_text(difference.metric, difference.mean, sign=True)} {ci_text(difference)}".rstrip()


def format_comparison(comparison: Comparison) -> str:
    """Format a comparison: its difference and whether it is settled."""
    if comparison.difference is None:
        return "unpaired"
    return f"{format_difference(comparison.difference)}, {'' if comparison.settled else 'not '}settled"


def method_settings(spec: ComparisonSpec, label: str) -> str:
    """Return the settings of a method as its spec gives them."""
    table = {key: value for key, value in spec.method_table(label).items() if key != "kind"}
    ramp = table.get("ramp")
    if isinstance(ramp, dict):
        length = f" over {ramp['updates']} updates" if "updates" in ramp else ""
        length += f" of a run of {ramp['run']}" if "run" in ramp else ""
        length = f" over {100 * ramp['fraction']:g} % of the run" if "fraction" in ramp else length
        table["ramp"] = ramp["shape"] + length
    if isinstance(ranges := table.get("ranges"), dict):
        table["ranges"] = f"learned ({_plain(ranges)})" if ranges else "learned"
    for key in NOISE_KEYS:
        if isinstance(noise := table.get(key), dict):
            table[key] = _hardware(noise)
    return ", ".join(f"{key} {_plain(value)}" for key, value in table.items()) or MISSING


def trained_uncompensated(spec: ComparisonSpec, targets: Iterable[CrossbarTarget]) -> Prose | None:
    """Warn of methods that train through drifted arrays without the drift compensation that targets have."""
    if not any(target.time_s and "drift" in target.deployment.compensation for target in targets):
        return None
    tables = {label: spec.method_table(label) for label in spec.labels}
    labels = [
        label
        for label, table in tables.items()
        if "crossbar" in table and table.get("time_s") and not table.get("drift_compensation")
    ]
    if not labels:
        return None
    return Prose(
        f"{codes(labels)}: trained on arrays after a time without drift compensation, so not on the errors of targets "
        "with it; set `drift_compensation = true` in the method to train with it.",
        "warning",
    )


def _hardware(noise: Mapping[str, Any]) -> str:
    """Name a noise, or a device with the size of its arrays, the bits of its converters, and layers elsewhere."""
    device = noise.get("device")
    # The name of a card or noise; of user code its reference, a text.
    name = noise.get("name") or (device["name"] if isinstance(device, dict) else device or noise["noise"])
    parts = [f"{noise[key]} {key}" for key in ("rows", "columns") if noise.get(key)]
    for key in ("dac", "adc"):
        if isinstance(converter := noise.get(key), dict) and converter.get("bits"):
            parts.append(f"{converter['bits']}-bit {key.upper()}")
    if isinstance(stuck := noise.get("stuck"), str):
        parts.append(f"stuck devices of {Path(stuck).name}")
    for pattern, place in dict(noise.get("layers") or {}).items():  # a table, or its recorded (pattern, place) pairs
        parts.append(f"{pattern} on {_hardware(place)}" if isinstance(place, dict) else f"{pattern} {place}")
    return f"{name} ({'; '.join(parts)})" if parts else str(name)


def _plain(value: Any) -> str:
    """Return a value of a spec as text, without the brackets of Python's lists and dictionaries."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return " and ".join(map(_plain, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def method_overrides(spec: ComparisonSpec, label: str) -> str:
    """Return the data, model and training settings that a method overrides; empty if it shares all of them."""
    return ", ".join(f"{key} {value}" for key, value in _flatten(spec.overrides_of(label)))


def has_method_overrides(spec: ComparisonSpec) -> bool:
    """Return whether some method overrides data, model or training settings."""
    return any(method_overrides(spec, label) for label in spec.labels)


def optimizer_name(recipe: TrainingConfig) -> str:
    """Return the name of an optimizer, with the momentum of SGD."""
    return {"sgd": f"SGD with momentum {recipe.momentum}", "adam": "Adam", "adamw": "AdamW"}[recipe.optimizer]


def network_names(spec: ComparisonSpec) -> list[str]:
    """Return the name of each network once."""
    return list(dict.fromkeys(spec.model_of(label).name for label in spec.labels))


def has_different_data(spec: ComparisonSpec) -> bool:
    """Return whether methods differ in their data."""
    return any(spec.data_of(label) != spec.data for label in spec.labels)


def landscape_note(spec: ComparisonSpec) -> str:
    """Return the explanation of the loss landscapes."""
    same_network = "" if len(network_names(spec)) == 1 else " of one network"
    note = (
        "Mean loss of the trained models over a plane through their weights. The plane is spanned by two random "
        "directions, scaled filter by filter to the norm of the model's weights (Li et al., Visualizing the Loss "
        "Landscape of Neural Nets, 2018): at coordinate 1 every filter has moved by its own norm. A + marks the "
        f"trained weights. Blank areas: the loss of a model overflowed. All methods{same_network} share the same "
        "directions and the same contour levels. The directions are a single random draw, so small differences may be "
        "due to chance."
    )
    return note + (" Losses on different data are not comparable." if has_different_data(spec) else "")


def checkpoint_note(spec: ComparisonSpec, metric: PrimaryMetric) -> str:
    """Return, in one sentence, which epoch of each training is evaluated."""
    stopping = spec.config().early_stopping
    if stopping is None:
        return "The last epoch of each training is evaluated."
    *others, last = map(exact_text, stopping.sigmas)
    sigmas = f"{', '.join(others)} and {last}" if others else last
    per_sigma = ", one epoch per sigma" if len(stopping.sigmas) > 1 else ""
    extreme = "highest" if metric.is_higher_better else "lowest"
    start = (
        f"The epoch of each training with the {extreme} {metric.title} under Gaussian weight noise of sigma "
        f"{sigmas} ({stopping.scale})"
    )
    if spec.data.validation == "test":
        return (
            f"{start} on the TEST data is evaluated{per_sigma}, as the spec requests. Results are therefore slightly "
            "optimistic."
        )
    return f"{start} on the validation split is evaluated{per_sigma}. The test data are not used for selection."


def _flatten(table: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flatten(value, (*path, key))
        else:
            yield ".".join((*path, key)), value
