"""The arrays of a network on each crossbar of a spec, as a results folder stores them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn

from aimc_robust.errors import InputError
from aimc_robust.hardware.conversion.coverage import Coverage
from aimc_robust.hardware.conversion.prepare import coverage
from aimc_robust.targets.target import CrossbarTarget, Target
from aimc_robust.tasks.batches import select, tensors_in


def array_mappings(network: str, model: nn.Module, inputs: Any, targets: Iterable[Target]) -> list[dict[str, Any]]:
    """Return the mapping of a network on each different crossbar of the targets, for the first of the examples.

    Returns:
        `MappingSummary.to_json` of each, after `network`, the names of the `targets` with this crossbar, and the shapes
        of the `inputs` that were counted, and `digital_layers`, each module that multiplies outside of arrays with its
        multiplies; no shapes, no activity and None if the network does not take a single example.
    """
    mappings = []
    for group in _by_crossbar(target for target in targets if isinstance(target, CrossbarTarget)):
        example, found = _map_one(model, select(inputs, slice(0, 1)), group[0])
        assert found.mapping is not None
        shapes = [list(x.shape) for x in tensors_in(example)]
        names = [target.name for target in group]
        digital = None if found.macs is None else dict(found.macs.digital)
        own = {"network": network, "targets": names, "inputs": shapes, "digital_layers": digital}
        mappings.append({**own, **found.mapping.to_json()})
    return mappings


def _by_crossbar(targets: Iterable[CrossbarTarget]) -> list[list[CrossbarTarget]]:
    groups: list[list[CrossbarTarget]] = []
    for target in targets:
        same = [group for group in groups if _key(group[0]) == _key(target)]
        if same:
            same[0].append(target)
        else:
            groups.append([target])
    return groups


def _key(target: CrossbarTarget) -> tuple[Any, bool]:
    return target.condition, target.deployment.fold


def _map_one(model: nn.Module, example: Any, target: CrossbarTarget) -> tuple[Any, Coverage]:
    """Return the example that was counted, and the coverage; without counts if a model takes larger batches only."""
    options: dict[str, Any] = {"crossbar": target.condition, "fold": target.deployment.fold}
    try:
        return example, coverage(model, example, **options)
    except InputError:
        return None, coverage(model, **options)
