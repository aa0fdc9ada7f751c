"""How a model is deployed on a crossbar, beyond the crossbar itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from aimc_robust.data.batches import InputBatches, input_batches
from aimc_robust.errors import DataError, InputError, names_arguments, require_known, require_type
from aimc_robust.hardware.config.ranges import ConverterRanges, LayerRanges

Backend = Literal["native", "crosssim"]
Compensation = Literal["drift", "batchnorm"]


@names_arguments
@dataclass(frozen=True, kw_only=True)
class Deployment:
    """How a model is deployed on a crossbar, beyond the crossbar itself.

    Attributes:
        fold: Whether BatchNorms are folded into the weights of the layers before them, wherever that is exact, before
            these are programmed; False: all stay digital, and the weights are programmed without their gain.
        ranges: Converter ranges of the model's layers, from `calibrate`; None: none are needed.
        backend: `native`, or `crosssim`, which runs CrossSim's cores with the same parameters and its own random
            numbers.
        compensation: Digital corrections, none by default. `drift`: each matrix's output is multiplied by one factor
            (global drift compensation, see `hardware.programming.programmed_matrix.Chip`). `batchnorm`: BatchNorm
            statistics are estimated anew on each chip (`recalibrate_batchnorm`).
        data: Unlabelled batches of inputs for `batchnorm`; an iterator is kept as a list.

    Raises:
        InputError: if a value is invalid.
        UnknownNameError: if the backend or a compensation is unknown.

    Examples:
        >>> Deployment(compensation=("drift",))
        Deployment(fold=True, ranges=None, backend='native', compensation=('drift',))
    """

    fold: bool = True
    ranges: Mapping[str, LayerRanges] | None = None
    backend: Backend = "native"
    compensation: tuple[Compensation, ...] = ()
    data: Iterable[Any] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        require_type("fold", self.fold, bool, example="True or False")
        require_known("backend", self.backend, get_args(Backend))
        if isinstance(self.compensation, str) or not isinstance(self.compensation, Iterable):
            raise InputError(f"compensation must be a tuple of names, such as ('drift',); got {self.compensation!r}.")
        object.__setattr__(self, "compensation", tuple(self.compensation))
        for name in self.compensation:
            require_known("compensation", name, get_args(Compensation))
        if self.ranges is not None and not isinstance(self.ranges, ConverterRanges):
            object.__setattr__(self, "ranges", ConverterRanges(self.ranges))
        is_given = not isinstance(self.data, list | tuple) or len(self.data) > 0
        try:
            object.__setattr__(self, "data", input_batches(self.data) if is_given else InputBatches())
        except DataError as error:
            raise InputError(f"data: {error}") from None

    def check_data(self) -> None:
        """Raise InputError if a compensation lacks its data."""
        if "batchnorm" in self.compensation and not self.data:
            raise InputError("the compensation 'batchnorm' needs unlabelled batches: pass data=[inputs, ...].")
