"""Measure what the work of a comparison costs on this machine: each kind of update and chip is timed once."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import nn

from aimc_robust.analysis.diagnostics import Diagnostics
from aimc_robust.data.batches import split_batches
from aimc_robust.data.dataset import DataSet
from aimc_robust.data.loading import load_data
from aimc_robust.experiments.execution.dry_run import dry_run_chip
from aimc_robust.experiments.planning.remaining import Speeds
from aimc_robust.experiments.spec.comparison import ComparisonSpec
from aimc_robust.experiments.spec.landscape import LandscapeSpec
from aimc_robust.metrics import Batch
from aimc_robust.models.registry import build_model
from aimc_robust.targets.target import AscentTarget, CrossbarTarget, DigitalTarget, NoiseTarget, RadiusTarget, Target
from aimc_robust.training.config import TrainingConfig
from aimc_robust.training.epoch import EVALUATION_BATCH_SIZE, loss_function, train_epoch, validate
from aimc_robust.training.fabric import Machine
from aimc_robust.training.methods.base import Method
from aimc_robust.training.methods.ramp import CONSTANT_RAMP

# Numbers of images of the two measurements that separate fixed costs from costs per image.
FEW, MANY = 16, EVALUATION_BATCH_SIZE
GPU_FEW, GPU_MANY = EVALUATION_BATCH_SIZE, 4 * EVALUATION_BATCH_SIZE  # fewer would not keep a GPU busy
UPDATES = 5  # timed together
# One warm-up, then at least MIN_REPETITIONS, and further ones until ENOUGH_S have passed; the median is used.
MIN_REPETITIONS, MAX_REPETITIONS, ENOUGH_S = 3, 25, 0.3
MAX_WAIT_S = 8.0  # for all repetitions; work that takes longer is timed on fewer images, and scaled

Work = Callable[[], object]


@dataclass(frozen=True)
class Cost:
    """Time of work as a linear function of the number of images."""

    fixed_s: float
    per_image_s: float

    def of(self, images: int) -> float:
        """Return the time for a number of images [s]."""
        return self.fixed_s + images * self.per_image_s


@dataclass
class CostModel:
    """Times each kind of work of a spec once, on untrained weights, whose values cost the same.

    Two updates are of one kind if network, images, recipe and kind of method are equal; two chips if network, images
    and kind of target are.

    Attributes:
        spec: The spec.
        data_folder: Where relative data paths start.
        machine: Where models would be trained.
        on_status: Called with a line about each measurement before it starts.
        speeds: What is measured.
        weights_bytes: Label -> size of the model's state.
        measured: What was measured, as text.
    """

    spec: ComparisonSpec
    data_folder: Path
    machine: Machine
    on_status: Callable[[str], None]
    speeds: Speeds = field(default_factory=Speeds)
    weights_bytes: dict[str, int] = field(default_factory=dict)
    measured: list[str] = field(default_factory=list)
    _cache: dict[str, Any] = field(default_factory=dict)

    @property
    def device(self) -> torch.device:
        """Device of the models."""
        accelerator = None if self.machine.device_name == "cpu" else torch.accelerator.current_accelerator()
        return accelerator or torch.device("cpu")

    def measure(self, label: str, targets: Collection[str]) -> None:
        """Measure an epoch of a method, and a chip or point of targets and landscapes; nothing if there are none.

        Args:
            label: Label of the method.
            targets: Names.

        Raises:
            AimcError: what loading its data or building its network raises.
        """
        if not targets:
            return
        spec, data_spec, network = self.spec, self.spec.data_of(label), self.spec.model_of(label)
        config, method = spec.config_of(label), replace(spec.method(label, seed=0), ramp=CONSTANT_RAMP)
        data_key = data_spec.model_dump_json()
        data = self._once(data_key, partial(self._load, label))
        key = f"{data_key} {network.model_dump_json()}"
        model = self._once(key, lambda: build_model(network, data, seed=spec.train_seeds[0]).to(self.device))
        self.weights_bytes[label] = sum(v.numel() * v.element_size() for v in model.state_dict().values())
        self.speeds.epoch_s[label] = self._epoch_s(label, key, model, data, config, method)
        measured: list[Target | LandscapeSpec] = [*spec.build_targets(), *spec.landscapes]
        for target in (target for target in measured if target.name in targets):
            images, kind = len(data.split(target.split)[1]), target_kind(target)
            names = f"{network.name} on {kind}", f"a chip of {images} images"
            work = partial(self._chip, target, model, data)
            chip_s = self._time(f"chip {key} {kind}", names, work, images, self._sizes(data))
            self.speeds.chip_s[label, target.name] = chip_s

    def _epoch_s(
        self, label: str, key: str, model: nn.Module, data: DataSet, config: TrainingConfig, method: Method
    ) -> float:
        """Return the time of an epoch: updates, validation and diagnostics [s]."""
        name, kind = self.spec.model_of(label).name, method_kind(method)
        images = data.training_images(self.spec.data_of(label).build_augmentation()).to(self.device)
        updates, validated = config.updates_per_epoch(len(images)), len(data.split("validation")[1])
        batch, timed = min(config.batch_size, len(images)), min(UPDATES, updates)
        recipe = (config.batch_size, config.precision, config.channels_last, config.compile, config.optimizer)
        updates_s = self._time(
            f"update {key} {recipe} {kind}",
            (f"{name}, {kind}", f"{timed} updates of {batch} images"),
            partial(self._updates, model, images, config, method, timed),
            batch,
            # torch.compile would compile anew for each size
            (batch if config.compile else min(self._sizes(data)[0], batch), batch),
        )
        validation_s = self._time(
            f"validation {key} {config.early_stopping}",
            (name, f"a validation of {validated} images"),
            lambda size: partial(validate, model, config.early_stopping, self._batch(data, size), 0),
            validated,
            self._sizes(data),
        )
        return updates / timed * updates_s + validation_s + self._diagnostics_s(key, name, model, data, config, method)

    def _diagnostics_s(
        self, key: str, name: str, model: nn.Module, data: DataSet, config: TrainingConfig, method: Method
    ) -> float:
        """Return the time of an epoch's diagnostics [s]; it is proportional to their images."""
        diagnostics = self.spec.build_diagnostics()
        if diagnostics is None:
            return 0.0

        def work(size: int) -> Work:
            batch, loss_fn = self._batch(data, size), loss_function(config)
            small = replace(diagnostics, images=size, batch_size=size)
            return partial(Diagnostics(small, training=batch, test=batch, loss_fn=loss_fn), model, method, 1)

        size, kind = min(diagnostics.batch_size, 2 * FEW), method_kind(method)
        unit = f"the diagnostics of {diagnostics.images} images"
        return self._time(f"diagnostics {key} {kind}", (name, unit), work, diagnostics.images, (size, size))

    def _updates(
        self, model: nn.Module, images: Any, config: TrainingConfig, method: Method, updates: int, size: int
    ) -> Work:
        """Return work that makes updates of a copy of the model, with batches of `size` images."""
        model = copy.deepcopy(model)
        if config.channels_last:
            model.to(memory_format=torch.channels_last)
        bf16 = config.precision == "bf16-mixed"
        return partial(
            train_epoch,
            torch.compile(model) if config.compile else model,
            method,
            replace(config, batch_size=size),
            config.base_optimizer(model),
            images,
            train_seed=0,
            epoch=1,
            autocast=partial(torch.autocast, self.device.type, torch.bfloat16, enabled=bf16),
            max_updates=updates,
        )

    def _chip(self, target: Target | LandscapeSpec, model: nn.Module, data: DataSet, size: int) -> Work:
        batches = split_batches(self._batch(data, size), EVALUATION_BATCH_SIZE)
        return partial(dry_run_chip(target, model.eval(), batches, self._batch(data, FEW)), 0)

    def _time(
        self, key: str, names: tuple[str, str], work: Callable[[int], Work], images: int, sizes: tuple[int, int]
    ) -> float:
        """Return the time of work on `images` images [s]; work of the same key is timed once.

        Args:
            key: What decides its time.
            names: What does the work, and the work.
            work: Returns the work on a number of images.
            images: Number of images.
            sizes: The two numbers of images that are timed; the second is reduced if it would take too long.
        """
        if key not in self._cache:
            self.on_status(f"timing {names[0]}: {names[1]}")
            few, many = sizes
            few_s = median_s(work(few), self.device)
            many = affordable_batch(few_s, few, many)
            many_s = few_s if many == few else median_s(work(many), self.device)
            self._cache[key] = linear_cost((few, few_s), (many, many_s))
            self.measured.append(f"{names[0]}: {self._cache[key].of(images):.2g} s for {names[1]}")
        cost: Cost = self._cache[key]
        return cost.of(images)

    def _once(self, key: str, compute: Callable[[], Any]) -> Any:
        if key not in self._cache:
            self._cache[key] = compute()
        return self._cache[key]

    def _load(self, label: str) -> DataSet:
        self.on_status(f"loading {self.spec.data_of(label).name}")
        return load_data(self.spec.data_of(label), data_seed=self.spec.data_seed, folder=self.data_folder)

    def _sizes(self, data: DataSet) -> tuple[int, int]:
        few, many = (FEW, MANY) if self.device.type == "cpu" else (GPU_FEW, GPU_MANY)
        return min(few, data.count), min(many, data.count)

    def _batch(self, data: DataSet, images: int) -> Batch:
        return next(iter(data.batches("test", images, self.device)))


def linear_cost(first: tuple[int, float], second: tuple[int, float]) -> Cost:
    """Return the line through two measurements (images, seconds); neither part is negative, whatever the clock's noise.

    The second has at least as many images as the first.
    """
    (few, few_s), (many, many_s) = first, second
    per_image_s = max(many_s - few_s, 0.0) / (many - few) if many > few else many_s / many
    return Cost(max(few_s - few * per_image_s, 0.0), per_image_s)


def affordable_batch(seconds: float, images: int, requested: int) -> int:
    """Return how many of the requested images can be timed within MAX_WAIT_S, if `images` of them take `seconds`."""
    return min(requested, max(images, int(images * MAX_WAIT_S / (1 + MIN_REPETITIONS) / seconds)))


def median_s(work: Work, device: torch.device) -> float:
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
    draws = f" of {method.draws} draws" if method.draws > 1 else ""
    return f"{type(method).__name__}{by_noise} ({' and '.join(method.passes)} pass{draws})"


def target_kind(target: Target | LandscapeSpec) -> str:
    """Return what decides the time of a chip, or of a point of a landscape, as text."""
    if isinstance(target, NoiseTarget):
        return f"{type(target.noise).__name__} noise"
    if not isinstance(target, CrossbarTarget):
        kinds = {LandscapeSpec: "plane", DigitalTarget: "digital", RadiusTarget: "random", AscentTarget: "ascent"}
        return kinds[type(target)]
    crossbar, deployment = target.crossbar, target.deployment
    arrays = f"arrays of {crossbar.arrays.rows or 'unlimited'} rows" if crossbar.computes_in_arrays else ""
    drifting, sliced = "drifting" * bool(target.time_s), "sliced" * (crossbar.weights.mapping.banks > 1)
    parts = [crossbar.device.cell.name, deployment.backend, *deployment.compensation, drifting, arrays, sliced]
    return ", ".join(filter(None, parts))
