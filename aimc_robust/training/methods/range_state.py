"""The learned ranges of a model that is trained: kept with the model, not among its weights, and saved with them."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import nn

from aimc_robust.errors import CheckpointError, DivergenceError, InputError, require_type
from aimc_robust.hardware.calibration.range_learning import RangeRecorder
from aimc_robust.hardware.config.ranges import ConverterRanges, LayerRanges
from aimc_robust.hardware.layers.array_layer import ArrayLayer
from aimc_robust.models.checkpoint import read_metadata
from aimc_robust.noise.analog_weights import unwrap_model
from aimc_robust.training.methods.learned_ranges import LearnedRanges
from aimc_robust.training.methods.range_observations import gather

ATTRIBUTE = "_learned_ranges"  # of the model; no parameter or buffer, so that its state_dict stays as it is
RANGES = "learned_ranges"  # key of a checkpoint's metadata
COLLAPSED = 1e-3  # of a layer's first range


@dataclass(frozen=True)
class LayerState:
    """Learned ranges of one layer.

    Attributes:
        full_scale: Largest input of the DAC; 0: none found yet.
        first: The range that was found from batches, or given.
        signed: Whether inputs are negative too.
        batches: Updates that have found `first`.
        outputs: (low, high) of the ADCs of each weight slice; empty: none, or they are not calibrated.
        outputs_seen: Updates that `outputs` are a mean of.
    """

    full_scale: float = 0.0
    first: float = 0.0
    signed: bool = False
    batches: int = 0
    outputs: tuple[tuple[float, float], ...] = ()
    outputs_seen: int = 0

    @property
    def ranges(self) -> LayerRanges | None:
        """The ranges; None: none found yet."""
        if self.full_scale == 0.0:
            return None
        return LayerRanges(inputs=(-self.full_scale if self.signed else 0.0, self.full_scale), outputs=self.outputs)

    def updated(self, seen: dict[str, float], rule: LearnedRanges, least: float) -> LayerState:
        """Return the state after an update that has seen this, see `gather`; `least` bounds the full scale."""
        state = self
        if state.batches < rule.init_batches:
            if seen["batches"] > 0:
                scale = seen["scale"] / seen["batches"]
                scale = state.full_scale + (scale - state.full_scale) / (state.batches + 1)
                signed = seen["signed"] > 0
                state = replace(state, full_scale=scale, first=scale, signed=signed, batches=state.batches + 1)
        elif seen["inputs"] > 0:
            unclipped = 1.0 - seen["clipped"] / seen["inputs"]
            full_scale = rule.updated(state.full_scale, seen["gradient"], unclipped)
            state = replace(state, full_scale=max(full_scale, least))
        if seen["outputs"] > 0:
            ends = [value / seen["outputs"] for name, value in seen.items() if name.startswith("end ")]
            known = [end for output in state.outputs for end in output] or ends
            weight = 1.0 / min(state.outputs_seen + 1, rule.init_batches)
            mixed = [old + weight * (new - old) for old, new in zip(known, ends, strict=True)]
            outputs = tuple(zip(mixed[::2], mixed[1::2], strict=True))
            state = replace(state, outputs=outputs, outputs_seen=state.outputs_seen + 1)
        return state


@dataclass
class RangeState:
    """Learned ranges of a model's layers, and what the last update has seen so far.

    An update may come in parts, as gradient accumulation makes them: all parts compute with the ranges of its start,
    and after each of them `layers` are as one update with all parts so far leaves them.

    Attributes:
        found_with: Options of the crossbar that the ranges depend on, see `ConverterRanges`.
        rule: The `LearnedRanges` that they were learned with, as text.
        layers: Layer -> its state.
        step: Number of the last update; 0: none.
        start: The layers at its start.
        seen: Layer -> what its parts have seen in sum, see `gather`.
        recorders: Layer -> what records the present part.
        method: The method that was checked against `found_with` and `rule`.
    """

    found_with: dict[str, Any]
    rule: str = ""
    layers: dict[str, LayerState] = field(default_factory=dict)
    step: int = field(default=0, repr=False, compare=False)
    start: dict[str, LayerState] = field(default_factory=dict, repr=False, compare=False)
    seen: dict[str, dict[str, float]] = field(default_factory=dict, repr=False, compare=False)
    recorders: dict[str, RangeRecorder] = field(default_factory=dict, repr=False, compare=False)
    method: object = field(default=None, repr=False, compare=False)

    def begin(self, step: int) -> None:
        """Begin update `step`, or its next part; forget what a part that an error ended has recorded."""
        self.recorders = {}
        if step != self.step:
            self.step, self.start, self.seen = step, dict(self.layers), {}

    def record(self, layer: ArrayLayer, rule: LearnedRanges, percentile: float) -> None:
        """Let a layer compute with its range, and record what it sees in this part of the update."""
        if layer.name not in self.start:
            self.start[layer.name] = self.layers[layer.name] = _first_state(layer.name, rule)
        state = self.start[layer.name]
        if layer.name not in self.recorders:
            self.recorders[layer.name] = RangeRecorder(
                state.ranges,
                is_initializing=state.batches < rule.init_batches,
                init_std=rule.init_std,
                percentile=percentile,
            )
        self.recorders[layer.name].attach(layer)

    def update(self, rule: LearnedRanges, gradient_factor: float) -> None:
        """Change all ranges by what the layers have seen; all workers have the same ranges then.

        Raises:
            DivergenceError: if a range collapses.
        """
        recorders, self.recorders = self.recorders, {}
        for name, part in gather(recorders).items():
            part["gradient"] *= gradient_factor
            before = self.seen.get(name, {})
            self.seen[name] = {key: before.get(key, 0.0) + value for key, value in part.items()}
            is_learning = self.start[name].batches >= rule.init_batches
            self.layers[name] = self.start[name].updated(self.seen[name], rule, recorders[name].least)
            if is_learning and self.seen[name]["inputs"] > 0:
                self._require_a_range(name, self.layers[name])

    def _require_a_range(self, name: str, state: LayerState) -> None:
        if COLLAPSED * state.first < state.full_scale < math.inf:
            return
        raise DivergenceError(
            f"the learned input range of the layer {name!r} collapsed to {state.full_scale:.3g}, from "
            f"{state.first:.3g} at first: its inputs vanish, or its decay is too strong. Lower lr, or the decay of "
            "LearnedRanges."
        )


def _first_state(name: str, rule: LearnedRanges) -> LayerState:
    given = None if rule.start is None else rule.start.get(name)
    if given is None:
        return LayerState()
    seen = rule.init_batches
    return LayerState(given.full_scale, given.full_scale, given.signed, seen, given.outputs, seen)


def range_state(model: nn.Module) -> RangeState | None:
    """Return the learned ranges of a model, without wrappers; None: it has none."""
    return unwrap_model(model).__dict__.get(ATTRIBUTE)


def set_range_state(model: nn.Module, state: RangeState | None) -> None:
    """Give a model its learned ranges; None: remove them."""
    inner = unwrap_model(model)
    if state is None:
        inner.__dict__.pop(ATTRIBUTE, None)
    else:
        inner.__dict__[ATTRIBUTE] = state


def learned_ranges(trained: nn.Module | str | Path) -> ConverterRanges:
    """Return the converter ranges that `ArrayAware(ranges="learned")` has learned with a model so far.

    They are kept with the model, beside its weights: copies of the model have them, its `state_dict` does not. `train`
    saves them in its checkpoints.

    Args:
        trained: The model, or the path of a checkpoint of `train` or `compare`.

    Raises:
        CheckpointError: if a file is no such checkpoint.
        InputError: if no ranges were learned.

    Examples:
        >>> deployment = Deployment(ranges=learned_ranges(model))  # doctest: +SKIP
    """
    require_type("trained", trained, nn.Module | str | Path, example="a torch.nn.Module, or the path of a checkpoint")
    if isinstance(trained, nn.Module):
        ranges = ranges_of(trained)
    else:
        state = state_from_json(read_metadata(Path(trained)).get(RANGES))
        ranges = None if state is None else as_converter_ranges(state)
    if ranges is None:
        raise InputError(
            "no ranges were learned with this model; train it with ArrayAware(crossbar, ranges='learned')."
        )
    return ranges


def ranges_of(model: nn.Module) -> ConverterRanges | None:
    """Return the learned ranges of a model; None: it has none."""
    state = range_state(model)
    return None if state is None else as_converter_ranges(state)


def as_converter_ranges(state: RangeState) -> ConverterRanges:
    """Return learned ranges as those of a deployment; layers that have found none are left out."""
    layers = {name: layer.ranges for name, layer in state.layers.items()}
    return ConverterRanges(
        {name: ranges for name, ranges in layers.items() if ranges is not None}, found_with=state.found_with
    )


def state_to_json(model: nn.Module) -> dict[str, Any] | None:
    """Return the learned ranges of a model as plain values; None: it has none."""
    state = range_state(model)
    if state is None:
        return None
    layers = {name: asdict(layer) for name, layer in state.layers.items()}
    return {"found_with": state.found_with, "rule": state.rule, "layers": layers}


def state_from_json(values: dict[str, Any] | None) -> RangeState | None:
    """Return what `state_to_json` has made plain values of."""
    if values is None:
        return None
    layers = {
        name: LayerState(**layer | {"outputs": tuple((low, high) for low, high in layer["outputs"])})
        for name, layer in values["layers"].items()
    }
    return RangeState(values["found_with"], values["rule"], layers)


def load_range_state(model: nn.Module, path: Path) -> None:
    """Give a model the learned ranges of a checkpoint; those of a file without any are none."""
    try:
        state = state_from_json(read_metadata(path).get(RANGES)) if path.is_file() else None
    except CheckpointError:  # weights of another program
        state = None
    set_range_state(model, state)
