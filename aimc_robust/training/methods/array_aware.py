"""Hardware-aware training through the arrays: converters, read noise and programming errors act in the forward pass."""

import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar, Literal, get_args

import torch
from torch import nn

from aimc_robust.errors import InputError, names_arguments, require_finite, require_known, require_type, require_whole
from aimc_robust.hardware.calibration.converter_ranges import check_ranges, settings_of
from aimc_robust.hardware.config.converters import parse_range
from aimc_robust.hardware.config.placement import Hardware, check_time_of, require_hardware
from aimc_robust.hardware.config.ranges import ConverterRanges
from aimc_robust.hardware.conversion.norm_gains import foldable_norms
from aimc_robust.hardware.conversion.output_scales import OutputScales
from aimc_robust.hardware.conversion.training_arrays import computing_in_arrays
from aimc_robust.hardware.program import reject_shared_weights_with_biases
from aimc_robust.hardware.programming.known_states import check_names_and_shapes, has_fault_maps
from aimc_robust.hardware.programming.programmed_matrix import Chip
from aimc_robust.noise.analog_weights import analog_weights, unwrap_model, weights_in_scope
from aimc_robust.noise.base import WeightNoise
from aimc_robust.noise.model_kinds import check_model
from aimc_robust.noise.perturbation import perturbed
from aimc_robust.seeding import Axes
from aimc_robust.training.methods.base import BatchChoice, Method, PassName
from aimc_robust.training.methods.distributed import world
from aimc_robust.training.methods.gradient_passes import Passes
from aimc_robust.training.methods.learned_ranges import LearnedRanges
from aimc_robust.training.methods.range_state import RangeState, range_state, set_range_state


@names_arguments
@dataclass(frozen=True, kw_only=True)
class ArrayAware(Method):
    """Hardware-aware training: g = grad L_B where every layer computes in the arrays of a newly programmed chip.

    Each update programs the weights onto a new chip and runs the forward pass through its arrays, with converters, read
    noise and the device's errors at `time_s`. Gradients pass straight through programming and rounding to the model's
    own parameters; they are 0 where a converter clips. BatchNorms are computed digitally and trained. With a clean pass
    (`lam` below 1) it is m-RWP, with `noise` it is RWP through arrays. The ramp scales the errors of devices and
    converters, and all noise; rounding and clipping always act. See `Method` for the other arguments.

    Args:
        crossbar: The crossbar, or a `Placement` on several; its digital layers are trained exactly.
        time_s: Time since programming [s], or (low, high), between which each update draws its own, log-uniformly.
        drift_compensation: Whether each matrix's output is corrected by one factor, as the compensation `drift` of a
            `Deployment` does.
        fold: Whether weights are programmed with the gain |gamma| / sqrt(var + eps) of the BatchNorm behind them (var
            is the running variance), and outputs divided by it: errors and converters then act as where BatchNorms are
            folded. As in the `Deployment` that the model is trained for.
        ranges: Converter ranges, from `calibrate` with the same `fold`. A layer without an entry finds its ranges anew
            from each batch, as BatchNorm does its statistics, on the chip before it drifts. Or `learned`, or a
            `LearnedRanges`: the full scale of each DAC is trained, see there; `learned_ranges(model)` returns the
            result.
        percentile: Quantile of the ranges that are found, see `calibrate`.
        output_scales: Whether the digital scale of each `layer` or output `column` gets a gradient of its own, as
            learned output scales do, see `with_scale_gradient`. It is part of the weights after every update.
        noise: Further weight noise, added to the weights before they are programmed.
        lam: Weight of the gradient through arrays, from 0 to 1; 1 - lam is that of a clean pass.
        batches: With a clean pass: `different` uses two batches per update, `same` one for both passes.
        draws: Chips per update, over the same batch, whose gradients are averaged.

    References:
        Joshi et al., Nat. Commun. 11, 2473, 2020 (noise in the forward pass, exact weights in the update); Rasch et
        al., Nat. Commun. 14, 5282, 2023 (converters, output noise, learned output scales); Bengio et al., arXiv
        1308.3432 (straight-through gradients).
    """

    crossbar: Hardware = field(kw_only=False)
    time_s: float | tuple[float, float] = 0.0
    drift_compensation: bool = False
    ranges: ConverterRanges | LearnedRanges | Literal["learned"] | None = field(default=None, hash=False)
    percentile: float = 0.9999
    output_scales: OutputScales | None = None
    noise: WeightNoise | None = None
    lam: float = 1.0
    batches: BatchChoice = "different"
    draws: int = 1
    bn_stats: PassName = "perturbed"

    full_strength: ClassVar[float] = 1.0
    whole_model_reason: ClassVar[str] = "all arrays of a chip are programmed before the pass"

    def __post_init__(self) -> None:
        require_hardware(self.crossbar)
        if isinstance(self.ranges, str):
            require_known("ranges", self.ranges, ["learned"])
            object.__setattr__(self, "ranges", LearnedRanges())
        kinds = ConverterRanges | LearnedRanges | None
        require_type("ranges", self.ranges, kinds, example="the result of calibrate(...), 'learned' or None")
        require_type("noise", self.noise, WeightNoise | None, example="a WeightNoise such as Gaussian(0.02), or None")
        require_type("drift_compensation", self.drift_compensation, bool, example="true or false")
        require_finite("percentile", self.percentile, low=0.5, high=1.0)
        if self.output_scales is not None:
            require_known("output_scales", self.output_scales, get_args(OutputScales))
        require_finite("lam", self.lam, high=1.0)
        require_known("batches", self.batches, get_args(BatchChoice))
        require_whole("draws", self.draws, low=1)
        super().__post_init__()
        if self.scope == "all":
            raise InputError("arrays hold the weights of layers alone; set scope to 'weights' or to a predicate.")
        if isinstance(self.noise, Hardware):
            raise InputError(
                "noise acts before the weights are programmed on `crossbar`; use a noise such as Gaussian."
            )
        if any(crossbar.crosssim is not None for crossbar in self.crossbar.crossbars):
            raise InputError("the crossbar's `crosssim` parameters act in CrossSim alone, which does not train.")
        if isinstance(self.time_s, Sequence) and not isinstance(self.time_s, str):
            object.__setattr__(self, "time_s", parse_range("time_s [s]", self.time_s, least=0.0))
            if self._times[0] == 0:
                raise InputError("times are drawn log-uniformly, so the lower one must be above 0; use 1.0, say.")
        if self._rule is not None and not any(x.periphery.calibrates_inputs for x in self.crossbar.crossbars):
            raise InputError(
                "learned ranges are those of DACs that clip at a full scale of each layer's own; give the crossbar "
                "such a dac, as DAC(bits=8), without full_scale, or remove `ranges`."
            )
        for time_s in set(self._times):
            check_time_of(self.crossbar, time_s)

    @property
    def _times(self) -> tuple[float, float]:
        """Earliest and latest time."""
        return self.time_s if isinstance(self.time_s, tuple) else (self.time_s, self.time_s)

    @property
    def _rule(self) -> LearnedRanges | None:
        """How ranges are learned; None: they are not."""
        return self.ranges if isinstance(self.ranges, LearnedRanges) else None

    @property
    def _fixed_ranges(self) -> ConverterRanges | None:
        """Ranges from `calibrate`, fixed or to start from."""
        return self.ranges.start if isinstance(self.ranges, LearnedRanges) else self.ranges  # type: ignore[return-value]

    @property
    def programs_weights(self) -> bool:
        """True."""
        return True

    @property
    def faulty_crossbar(self) -> Hardware | None:
        """The crossbar, if it has a fault map."""
        return self.crossbar if has_fault_maps(self.crossbar) else None

    @property
    def gradient_weights(self) -> tuple[float, float]:
        """(1 - lam, lam)."""
        return 1.0 - self.lam, self.lam

    @property
    def batches_per_update(self) -> int:
        """Batches that `backward` takes."""
        return 2 if self.batches == "different" and self.lam < 1.0 else 1

    @contextmanager
    def perturbation(self, model: nn.Module, passes: Passes, *, step: int, draw: int = 0) -> Iterator[nn.Module]:
        """Return a context in which `model` computes in the arrays of the chip of draw `draw` of update `step`."""
        inner = unwrap_model(model)
        self._check(model, inner)
        axes, strength = self.axes(step, draw), self.ramp.factor(step)
        chip = Chip(
            axes=axes,
            time_s=self._draw_time(axes),
            drift_compensation=self.drift_compensation,
            layers=None if self.scope == "weights" else self._layers(inner),
            checked=next(inner.parameters()).is_cpu,  # on a GPU, the loss shows at the end of the epoch what diverged
        )
        noisy: AbstractContextManager[nn.Module] = nullcontext(model)
        if self.noise is not None:
            own = axes.at(effect="noise")
            noisy = perturbed(
                model, self.noise, generator=own, scope=self.scope, strength=strength, draw_on_device=True
            )
        rule, learn_ranges = self._rule, None
        if rule is not None:
            state = self._range_state(inner)
            if draw == 0:
                state.begin(step)
            learn_ranges = partial(state.record, rule=rule, percentile=self.percentile)
        arrays = computing_in_arrays(
            inner,
            self.crossbar,
            chip,
            ranges=self._fixed_ranges,
            percentile=self.percentile,
            strength=strength,
            gains=self.gains(inner),
            worker=world()[0],
            learn_ranges=learn_ranges,
            output_scales=self.output_scales,
        )
        with noisy, arrays:
            yield model
        if rule is not None and draw == self.draws - 1:
            state.update(rule, self.lam / self.draws / passes.factor_in_backward(self.lam / self.draws))

    def _draw_time(self, axes: Axes) -> float:
        low, high = self._times
        if low == high:
            return low
        uniform = float(torch.rand((), generator=axes.at(effect="time").generator(), dtype=torch.float64))
        return math.exp(math.log(low) + uniform * math.log(high / low))

    def _range_state(self, model: nn.Module) -> RangeState:
        """Return the learned ranges of a model; new ones if it has none, or those of other converters or rules."""
        state = range_state(model)
        if state is None or state.method is not self:
            folded = foldable_norms(model) if self.fold else ()
            found_with, rule = settings_of(model, self.crossbar, fold=self.fold, folded=folded), repr(self._rule)
            if state is None or (state.found_with, state.rule) != (found_with, rule):
                state = RangeState(found_with, rule)
                set_range_state(model, state)
            state.method, state.step = self, 0
        return state

    def _layers(self, model: nn.Module) -> frozenset[str]:
        """Names of the layers in scope."""
        chosen = {id(parameter) for parameter in weights_in_scope(model, self.scope).values()}
        return frozenset(w.array_owner for w in analog_weights(model).values() if id(w.parameter) in chosen)

    def _check(self, model: nn.Module, inner: nn.Module) -> None:
        """Raise InputError for a model whose layers cannot compute in these arrays."""
        check_model(inner)
        weights_in_scope(inner, self.scope)
        self.crossbar.check_model(inner)
        modules = [*model.modules(), *inner.modules()]
        if any("_orig_mod" in m._modules or m._compiled_call_impl is not None for m in modules):
            raise InputError(
                "the layers of a compiled model cannot be exchanged for arrays; train without torch.compile."
            )
        if any(isinstance(m, nn.DataParallel) and len(m.device_ids) > 1 for m in modules):
            raise InputError("nn.DataParallel copies layers between devices, but not their arrays; use DDP instead.")
        folded = foldable_norms(inner) if self.fold else {}
        reject_shared_weights_with_biases(inner, self.crossbar)
        for norm, layer in folded.items():
            crossbar = self.crossbar.crossbar_of(layer)
            if crossbar is not None and crossbar.arrays.bias_rows:
                raise InputError(
                    f"the BatchNorm {norm!r} would be folded into bias rows, which training cannot do; "
                    "set fold to False, here and in the deployment, or bias_rows to 0."
                )
        check_names_and_shapes(inner, self.crossbar)
        if self._fixed_ranges is not None:
            check_ranges(self._fixed_ranges, inner, self.crossbar, fold=self.fold, folded=folded)
