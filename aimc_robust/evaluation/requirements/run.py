"""The requirements that a model, its data and an allowed drop put on a memory device."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
from torch import nn

from aimc_robust.data.batches import Batches, as_reiterable, input_batches
from aimc_robust.devices.library import load_cell_model
from aimc_robust.devices.limits import DAY_S, require_time
from aimc_robust.errors import InputError, require_finite, require_type
from aimc_robust.evaluation.monte_carlo import chip_evaluation
from aimc_robust.evaluation.requirements.budget import ErrorBudget, check_template
from aimc_robust.evaluation.requirements.devices import judge_devices
from aimc_robust.evaluation.requirements.quantities import Setting, budget_at, find_quantities
from aimc_robust.evaluation.requirements.quantity_search import TOGETHER, QuantitySearch
from aimc_robust.evaluation.requirements.result import DeviceRequirements
from aimc_robust.evaluation.requirements.search import number_of_chips
from aimc_robust.evaluation.requirements.second_order import (
    curve_of_bins,
    equal_cost_curve,
    growth,
    state_sensitivities,
)
from aimc_robust.evaluation.requirements.simulator import Simulator
from aimc_robust.float32_convolutions import float32_convolutions
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.hardware.config.placement import Hardware
from aimc_robust.hardware.conversion.mapping_summary import map_model
from aimc_robust.parallel.process_pool import check_jobs
from aimc_robust.tasks.model_score import no_loss
from aimc_robust.tasks.registry import TaskLike, as_task

CURVE = "programming-curve"
ARRAY = 256  # rows and columns of the template that is used without one


@float32_convolutions()
def device_requirements(
    model: nn.Module,
    batches: Batches,
    *,
    drop: float,
    required_yield: float = 0.95,
    crossbar: Hardware | None = None,
    quantities: Iterable[str] | None = None,
    devices: Sequence[Any] = (),
    time_s: float = DAY_S,
    t0_s: float = 20.0,
    drift_spread: float = 1 / 3,
    calibrate_on: Any = None,
    chips: int | None = None,
    chip_seed: int = 0,
    jobs: int | None = None,
    task: TaskLike = None,
    on_step: Callable[[str], None] | None = None,
) -> DeviceRequirements:
    """Find the largest errors of a memory device and its converters with which a model loses at most `drop`.

    Every quantity is searched alone, all else as in the template; then all of them together. The second order of the
    loss says where a search starts; chips are simulated at levels that are 9 % apart, with the same draws at all
    levels; other chips confirm the level.

    Args:
        model: The trained model; not modified.
        batches: Labelled data: (inputs, labels) batches such as a list or a DataLoader, one such pair, or `Images`.
        drop: Largest drop of the task's primary metric against digital weights that a chip may have, above 0, in
            points of a percentage or in the metric's unit.
        required_yield: Share of chips that must keep it, above 0 and below 1.
        crossbar: The template: a crossbar, or a `Placement` that keeps some layers digital. Its layout, arrays,
            converters and noise of the periphery act in every search; of its device only the window and the unit count.
            None: arrays of 256 x 256 ideal devices without converters.
        quantities: Names of `QUANTITIES`; None: all.
        devices: Devices to judge, as `Crossbar` takes them.
        time_s: Seconds since programming, for drift.
        t0_s: Seconds from the programming pulse to time 0, when the programming error holds: drift is
            ((t + t0) / t0)**-nu.
        drift_spread: Standard deviation of nu over devices, in units of its mean.
        calibrate_on: Inputs, or labelled batches, on which converter ranges are found; None: `batches`.
        chips: Number of chips of each search, and as many others of each confirmation; None: as many as show the
            yield with 95 % confidence although one of them fails (93 for a yield of 0.95).
        chip_seed: Root seed of all chips.
        jobs: As for `evaluate`.
        task: As for `evaluate`.
        on_step: Called with a short text before each step.

    Raises:
        InputError: if an argument is invalid, the chips are too few, or the template alone loses more than `drop`.
        UnknownNameError: if a quantity or a device is unknown.
        DataError: if there are no images, or labels do not match the outputs.

    Examples:
        >>> found = device_requirements(model, batches, drop=1.0, required_yield=0.95)  # doctest: +SKIP
        >>> found.level("programming"), found.card()  # doctest: +SKIP
    """
    wanted, explicit = find_quantities(quantities), quantities is not None
    require_finite("drop", drop)
    if drop == 0:
        raise InputError("drop must be above 0, since chips differ in both directions; got 0: allow a small drop.")
    count, allowed = number_of_chips(chips, required_yield)
    _check_times(time_s, t0_s, drift_spread, drifts=any(name.startswith("drift") for name in wanted))
    hardware, template = _template(crossbar)
    cells = [load_cell_model(device) for device in devices]
    step = on_step or (lambda text: None)
    built_task = as_task(task)
    batches = as_reiterable(batches, built_task)
    digital = chip_evaluation(model, batches, None, task=built_task)(0)
    prepared = chip_evaluation(model, batches, hardware, task=built_task).model  # shows warnings on the model once
    check_jobs(model, jobs)
    if digital.loss is None:
        if explicit and CURVE in wanted:
            raise no_loss()
        wanted.pop(CURVE, None)
    simulator = Simulator(
        model=model,
        batches=batches,
        hardware=hardware,
        task=built_task,
        digital=digital.value,
        drop=drop,
        calibration=input_batches(batches if calibrate_on is None else calibrate_on, built_task),
        time_s=time_s,
        t0_s=t0_s,
        chip_seed=chip_seed,
        jobs=jobs,
    )
    search = QuantitySearch(
        simulator=simulator,
        setting=Setting(time_s=time_s, t0_s=t0_s, drift_spread=drift_spread),
        chips=count,
        allowed=allowed,
        growth={},
        excess=drop / 100.0 if built_task.primary.unit == "%" else drop,
        is_template_random=_is_random(template),
    )
    step("the arrays without a budget")
    _check_arrays_alone(search)
    if digital.loss is not None:
        step("second order")
        predictable = {name: quantity for name, quantity in wanted.items() if name != CURVE}
        search.growth |= growth(simulator, predictable, search.setting)
    rows, states = [], None
    for name in wanted:
        step(name)
        if name == CURVE:
            states = _prepare_curve(search)
        rows.append(search.row(name))
    if states is not None:
        states["std"] = [std * next(row["level"] for row in rows if row["quantity"] == CURVE) for std in states["std"]]
    step(TOGETHER)
    combined, levels = search.together(rows)
    for row in rows:
        row[TOGETHER] = levels.get(row["quantity"], math.nan)
    return DeviceRequirements(
        metric=built_task.primary,
        digital=digital.value,
        examples=digital.n,
        items=built_task.items,
        device_count=map_model(prepared, hardware).total()["devices"],
        drop=drop,
        required_yield=required_yield,
        chips=count,
        allowed_failures=allowed,
        time_s=time_s,
        t0_s=t0_s,
        drift_spread=drift_spread,
        template=template,
        table=pd.DataFrame([*rows, *([{**combined, TOGETHER: math.nan}] if combined else [])]),
        together=budget_at(levels, search.setting) if levels else None,
        scale=math.nan if combined is None else combined["level"],
        states=states,
        devices=judge_devices(
            simulator,
            cells,
            search_on=range(count),
            confirm_on=range(count, 2 * count),
            allowed=allowed,
            required=required_yield,
            on_step=step,
        ),
    )


def _check_times(time_s: float, t0_s: float, drift_spread: float, *, drifts: bool) -> None:
    require_time(time_s)
    require_finite("t0_s", t0_s, low=1e-9)
    require_finite("drift_spread (of nu, in units of its mean)", drift_spread)
    if drifts and time_s == 0:
        raise InputError("drift needs a time: give time_s above 0, or quantities without drift.")


def _template(crossbar: Hardware | None) -> tuple[Hardware, Crossbar]:
    """Return the template as it was given, and its only crossbar."""
    hardware = Crossbar("ideal", rows=ARRAY, columns=ARRAY) if crossbar is None else crossbar
    require_type("crossbar", hardware, Hardware, example="a Crossbar, or a Placement")
    crossbars = set(hardware.crossbars)
    if len(crossbars) > 1:
        raise InputError(f"requirements are for one device, got {len(crossbars)} crossbars; keep other layers digital.")
    (template,) = crossbars
    check_template(template)
    return hardware, template


def _is_random(template: Crossbar) -> bool:
    adc = template.periphery.adc
    return template.periphery.has_noise or (adc is not None and adc.has_errors)


def _check_arrays_alone(search: QuantitySearch) -> None:
    """Raise InputError if chips lose more than the drop by what the template has, without any budget."""
    simulator = search.simulator
    chips = range(search.chips) if search.is_template_random else range(1)
    losses = simulator.losses_within(ErrorBudget(), chips)
    failing = len(chips) - sum(simulator.passes(losses))
    if failing > (search.allowed if search.is_template_random else 0):
        metric = simulator.task.primary
        raise InputError(
            f"the arrays and converters of the template alone cost up to {metric.number(max(losses))} "
            f"{metric.difference_unit} of {metric.title}, more than the allowed {simulator.drop:g}; change rows, "
            "mapping or converters, or allow a larger drop."
        )


def _prepare_curve(search: QuantitySearch) -> pd.DataFrame:
    """Give the search the curve on which all states cost the same; return it with the sensitivities."""
    states = state_sensitivities(search.simulator)
    stds = equal_cost_curve(states, search.excess)
    states["std"] = stds
    edges = [*states["low"], float(states["high"].iloc[-1])]
    search.setting = replace(search.setting, curve=curve_of_bins(edges, stds))
    cost = math.fsum(s * std**2 for s, std in zip(states["sensitivity"].clip(lower=0.0), stds, strict=True))
    if cost > 0:
        search.growth[CURVE] = cost
    return states
