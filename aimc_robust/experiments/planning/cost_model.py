"""Measure what the work of a comparison costs on this machine: each kind of epoch and chip is timed once."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import nn

from aimc_robust.data.batches import split_batches
from aimc_robust.data.dataset import DataSet
from aimc_robust.data.lazy import LabelledImages, select_images, to_device
from aimc_robust.data.loading import load_data
from aimc_robust.experiments.execution.dry_run import dry_run_chip
from aimc_robust.experiments.execution.trial_runner import build_probe
from aimc_robust.experiments.planning.remaining import Speeds
from aimc_robust.experiments.spec.comparison import ComparisonSpec
from aimc_robust.experiments.spec.landscape import LandscapeSpec
from aimc_robust.hardware.config.placement import Hardware
from aimc_robust.models.registry import build_model
from aimc_robust.targets.target import CrossbarTarget, NoiseTarget, Target
from aimc_robust.tasks.task import Task
from aimc_robust.training.epoch import EVALUATION_BATCH_SIZE
from aimc_robust.training.fabric import Machine
from aimc_robust.training.loop import train
from aimc_robust.training.methods.array_aware import ArrayAware
from aimc_robust.training.methods.base import Method
from aimc_robust.training.methods.ramp import CONSTANT_RAMP

FEW = 16  # images of the first of two measurements, which separate the fixed cost of a chip from that of its images
UPDATES = 10  # of the epochs that are timed
# One warm-up, then at least MIN_REPETITIONS, and further ones until ENOUGH_S have passed; the median is used.
MIN_REPETITIONS, MAX_REPETITIONS, ENOUGH_S = 3, 25, 0.3
MAX_WAIT_S = 8.0  # for all repetitions; work that takes longer is timed on fewer images, and scaled


@dataclass
class CostModel:
    """Times each kind of epoch and chip of a spec once, on untrained weights, whose values cost the same."""

    spec: ComparisonSpec
    data_folder: Path
    machine: Machine
    on_status: Callable[[str], None]  # called with a line about each measurement before it starts
    speeds: Speeds = field(default_factory=Speeds)
    weights_bytes: dict[str, int] = field(default_factory=dict)  # label -> size of the model's state
    measured: list[str] = field(default_factory=list)  # as text
    _cache: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def task(self) -> Task:
        """What the models are for."""
        return self.spec.task.build()

    @property
    def device(self) -> torch.device:
        """Device of the models."""
        return self.machine.device

    def measure(self, label: str, targets: Collection[str]) -> None:
        """Measure an epoch of the method `label`, and a chip or point of each target or landscape; none: nothing.

        Raises:
            AimcError: what loading its data or building its network raises.
        """
        if not targets:
            return
        spec, data_spec, network = self.spec, self.spec.data_of(label), self.spec.model_of(label)
        data_key = data_spec.model_dump_json()
        key = f"{data_key} {network.model_dump_json()}"
        task = self.task
        load = partial(load_data, data_spec, data_seed=spec.data_seed, folder=self.data_folder, task=task)
        data: DataSet = self._once(data_key, f"loading {data_spec.name}", load)
        build = partial(build_model, network, data, seed=spec.train_seeds[0], task=task)
        model = self._once(key, f"building {network.name}", lambda: build().to(self.device))
        self.weights_bytes[label] = sum(v.numel() * v.element_size() for v in model.state_dict().values())
        method, config = replace(spec.method(label, seed=0), ramp=CONSTANT_RAMP), spec.config_of(label)
        kind = f"{network.name}, {method_kind(method)}"
        self.speeds.epoch_s[label] = self._once(
            f"{key} {kind} {replace(config, lr=0.0)}",
            f"timing an epoch: {kind}",
            lambda: self._epoch_s(label, kind, model, method, data),
        )
        measured: list[Target | LandscapeSpec] = [*spec.build_targets(), *spec.landscapes]
        for target in (target for target in measured if target.name in targets):
            kind, labelled = f"{network.name} on {target_kind(target)}", data.split(target.split)
            self.speeds.chip_s[label, target.name] = self._once(
                f"{key} {kind} {target.split}",
                f"timing a chip: {kind}",
                partial(self._chip_s, kind, model, target, labelled),
            )

    def _epoch_s(self, label: str, kind: str, model: nn.Module, method: Method, data: DataSet) -> float:
        """Return the time of an epoch with its validation and diagnostics [s], timed on a part of the images."""
        config, images = self.spec.config_of(label), len(data.split("training")[1])
        updates = config.updates_per_epoch(images)
        update_s = self._updates_s(label, model, method, data, 1)
        timed = affordable_batch(update_s, 1, min(UPDATES, updates))
        if timed > 1:
            update_s = self._updates_s(label, model, method, data, timed) / timed
        probe = build_probe(self.spec, label, data, self.task)
        epoch_s = updates * update_s + (median_s(partial(probe, model, method, 1), self.device) if probe else 0.0)
        self.measured.append(f"{kind}: {epoch_s:.2g} s for an epoch ({timed} of {updates} updates timed)")
        return epoch_s

    def _updates_s(self, label: str, model: nn.Module, method: Method, data: DataSet, updates: int) -> float:
        """Return the time of an epoch of so many updates, with as large a share of the validation images [s]."""
        config = self.spec.config_of(label)
        if config.distillation is not None:  # any teacher of the same network takes as long
            config = replace(config, distillation=replace(config.distillation, teacher=None))
        share = updates / config.updates_per_epoch(len(data.split("training")[1]))
        part = replace(
            data,
            training=_first(data.split("training"), updates * config.batch_size),
            validation=_first(data.split("validation"), round(share * len(data.split("validation")[1]))),
        )
        history = train(
            copy.deepcopy(model),
            method,
            replace(config, epochs=1 + MIN_REPETITIONS, lr=0.0, warmup_epochs=0.0),
            training_set=part.training_set(self.spec.data_of(label).build_augmentation()),
            validation_set=part.split("validation"),
            task=self.task,
        ).history
        return max(median(row["seconds"] for row in history[1:]), 1e-3)  # they are rounded to milliseconds

    def _chip_s(self, kind: str, model: nn.Module, target: Target | LandscapeSpec, labelled: LabelledImages) -> float:
        """Return the time of a chip or point on all images, a linear function of their number [s]."""
        images = len(labelled[1])
        few, many = min(FEW, images), min(EVALUATION_BATCH_SIZE, images)

        def seconds(size: int) -> float:
            inputs, labels = _first(labelled, size)
            moved = to_device(inputs, self.device), labels.to(self.device)
            batches = split_batches(moved, min(EVALUATION_BATCH_SIZE, self.task.batch_size))
            example = next(iter(split_batches(moved, FEW)))
            return median_s(dry_run_chip(target, model.eval(), batches, example, self.task), self.device)

        few_s = seconds(few)
        many = affordable_batch(few_s, few, many)
        fixed_s, image_s = linear_cost((few, few_s), (many, few_s if many == few else seconds(many)))
        chip_s = fixed_s + images * image_s
        self.measured.append(f"{kind}: {chip_s:.2g} s for a chip of {images} examples")
        return chip_s

    def _once(self, key: str, status: str, compute: Callable[[], Any]) -> Any:
        if key not in self._cache:
            self.on_status(status)
            self._cache[key] = compute()
        return self._cache[key]


def _first(labelled: LabelledImages, count: int) -> LabelledImages:
    """Return the first images and labels, at least one."""
    indices = torch.arange(min(max(count, 1), len(labelled[1])))
    return select_images(labelled[0], indices), labelled[1][indices]


def linear_cost(first: tuple[int, float], second: tuple[int, float]) -> tuple[float, float]:
    """Return fixed time and time per image [s] of the line through two measurements (images, seconds).

    Neither is negative, whatever the clock's noise. The second measurement has at least as many images as the first.
    """
    (few, few_s), (many, many_s) = first, second
    per_image_s = max(many_s - few_s, 0.0) / (many - few) if many > few else many_s / many
    return max(few_s - few * per_image_s, 0.0), per_image_s


def affordable_batch(seconds: float, images: int, requested: int) -> int:
    """Return how many of the requested images can be timed within MAX_WAIT_S, if `images` of them take `seconds`."""
    return min(requested, max(images, int(images * MAX_WAIT_S / (1 + MIN_REPETITIONS) / seconds)))


def median_s(work: Callable[[], object], device: torch.device) -> float:
    """Return the median time of work on a device [s], without its first time."""
    work()
    times: list[float] = []
    while len(times) < MIN_REPETITIONS or (len(times) < MAX_REPETITIONS and sum(times) < ENOUGH_S):
        began = _now(device)
        work()
        times.append(_now(device) - began)
    return median(times)


def _now(device: torch.device) -> float:
    if device.type != "cpu":
        torch.accelerator.synchronize()
    return time.perf_counter()


def method_kind(method: Method) -> str:
    """Return what decides the time of an update as text: the passes, and what perturbs the weights."""
    noise = getattr(method, "noise", None)
    by_noise = "" if noise is None else f" by {type(noise).__name__}"
    if isinstance(method, ArrayAware):
        by_noise += f" in {_arrays_text(method.crossbar)}"
    draws = f" of {method.draws} draws" if method.draws > 1 else ""
    return f"{type(method).__name__}{by_noise} ({' and '.join(method.passes)} pass{draws})"


def target_kind(target: Target | LandscapeSpec) -> str:
    """Return what decides the time of a chip, or of a point of a landscape, as text."""
    if isinstance(target, NoiseTarget):
        return f"{type(target.noise).__name__} noise"
    if not isinstance(target, CrossbarTarget):
        return "plane" if isinstance(target, LandscapeSpec) else type(target).__name__.removesuffix("Target").lower()
    hardware, deployment = target.condition, target.deployment
    arrays = _arrays_text(hardware) if hardware.computes_in_arrays else ""
    is_sliced = any(crossbar.weights.mapping.banks > 1 for crossbar in hardware.crossbars)
    drifting, sliced = "drifting" * bool(target.time_s), "sliced" * is_sliced
    devices = " and ".join(dict.fromkeys(crossbar.device.cell.name for crossbar in hardware.crossbars))
    placed = "" if target.placement is None else target.placement.text
    parts = [devices, placed, deployment.backend, *deployment.compensation, drifting, arrays, sliced]
    return ", ".join(filter(None, parts))


def _arrays_text(hardware: Hardware) -> str:
    rows = dict.fromkeys(str(crossbar.arrays.rows or "unlimited") for crossbar in hardware.crossbars)
    return f"arrays of {' and '.join(rows)} rows"
