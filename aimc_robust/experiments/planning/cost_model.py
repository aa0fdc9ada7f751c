"""Measure what the work of a comparison costs on this machine: each kind of update and chip is timed once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from aimc_robust.analysis.diagnostics import Diagnostics
from aimc_robust.data.dataset import DataSet
from aimc_robust.data.loading import load_data
from aimc_robust.errors import AimcError
from aimc_robust.experiments.planning.steps import chip_steps, repeat
from aimc_robust.experiments.planning.timer import Cost, affordable_batch, median_s, torch_threads
from aimc_robust.experiments.planning.workload import method_kind, target_kind
from aimc_robust.experiments.spec.comparison import ComparisonSpec
from aimc_robust.experiments.spec.landscape import LandscapeSpec
from aimc_robust.metrics import Batch
from aimc_robust.models.registry import build_model
from aimc_robust.targets.target import Target
from aimc_robust.training.epoch import EVALUATION_BATCH_SIZE, loss_function, train_epoch, validate
from aimc_robust.training.fabric import Machine
from aimc_robust.training.methods.base import Method
from aimc_robust.training.methods.ramp import CONSTANT_RAMP

# Numbers of images of the two measurements that separate fixed costs from costs per image.
FEW, MANY = 16, EVALUATION_BATCH_SIZE
UPDATES = 5  # timed together
GPU_FEW, GPU_MANY = EVALUATION_BATCH_SIZE, 4 * EVALUATION_BATCH_SIZE  # fewer would not keep a GPU busy

Value = TypeVar("Value")


@dataclass(frozen=True)
class TrialCost:
    """What one model costs.

    Attributes:
        epoch_s: Time of an epoch with its validation and diagnostics [s].
        chip_s: Target or landscape -> time of a chip or point [s].
        weights_bytes: Size of the model's state.
    """

    epoch_s: float
    chip_s: dict[str, float]
    weights_bytes: int


class CostModel:
    """Time each kind of work of a spec once, on untrained weights, whose values cost the same.

    Two updates are of one kind if network, images, recipe and method are equal; two chips if network, images and kind
    of target are.

    Args:
        spec: The spec.
        data_folder: Where relative data paths start.
        machine: Where models would be trained.
        threads: Threads of torch during the measurements; None: as many as this process has.
        on_status: Called with a line about each measurement before it starts.

    Attributes:
        lines: What was measured, as text.
    """

    def __init__(
        self,
        spec: ComparisonSpec,
        *,
        data_folder: Path,
        machine: Machine,
        threads: int | None = None,
        on_status: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.spec, self.data_folder, self.threads, self.on_status = spec, data_folder, threads, on_status
        accelerator = None if machine.device_name == "cpu" else torch.accelerator.current_accelerator()
        self.device = accelerator or torch.device("cpu")
        self.lines: list[str] = []
        self._cache: dict[str, object] = {}

    def cost(self, label: str, targets: Sequence[Target | LandscapeSpec]) -> TrialCost:
        """Return the cost of a model of the method `label`, and of a chip (or point) of each of `targets`.

        Raises:
            AimcError: what loading its data or building its network raises; again at every call.
        """
        with torch_threads(self.threads):
            data_key = self.spec.data_of(label).model_dump_json()
            network_key = f"{data_key} {self.spec.model_of(label).model_dump_json()}"
            data = self._cached(f"data {data_key}", lambda: self._load_data(label))
            model = self._cached(f"model {network_key}", lambda: self._build_model(label, data))
            epoch_s = self._epoch_s(label, network_key, model, data)
            name = self.spec.model_of(label).name
            chip_s = {}
            for target in targets:
                kind = target_kind(target)
                cost = self._cached(
                    f"chip {network_key} {kind}",
                    partial(self._time_chip, target, model, data, f"{name} on {kind}"),
                )
                chip_s[target.name] = cost.of(_count(data.split(target.split)))
        return TrialCost(epoch_s, chip_s, sum(v.numel() * v.element_size() for v in model.state_dict().values()))

    def _epoch_s(self, label: str, network_key: str, model: nn.Module, data: DataSet) -> float:
        """Return the time of an epoch: updates, validation and diagnostics [s]."""
        name, config = self.spec.model_of(label).name, self.spec.config_of(label)
        kind = method_kind(self.spec.method(label, seed=0))
        recipe = (config.batch_size, config.precision, config.channels_last, config.compile, config.optimizer)
        update_s = self._cached(
            f"update {network_key} {recipe} {kind}", lambda: self._time_update(label, model, data, f"{name}, {kind}")
        )
        validation = self._cached(
            f"validation {network_key} {config.early_stopping}",
            lambda: self._time_validation(label, model, data, name),
        )
        updates = config.updates_per_epoch(_count(data.split("training")))
        diagnostics_s = self._cached(
            f"diagnostics {network_key} {kind}", lambda: self._time_diagnostics(label, model, data)
        )
        return updates * update_s + validation.of(_count(data.split("validation"))) + diagnostics_s

    def _cached(self, key: str, compute: Callable[[], Value]) -> Value:
        """Return the value of `key`, computed at first use; an AimcError is cached too, and raised again."""
        if key not in self._cache:
            try:
                self._cache[key] = compute()
            except AimcError as error:
                self._cache[key] = error
        value = self._cache[key]
        if isinstance(value, AimcError):
            raise value
        return value  # type: ignore[return-value]  # a key always has one type of value

    def _load_data(self, label: str) -> DataSet:
        self.on_status(f"loading {self.spec.data_of(label).name}")
        return load_data(self.spec.data_of(label), data_seed=self.spec.data_seed, folder=self.data_folder)

    def _build_model(self, label: str, data: DataSet) -> nn.Module:
        return build_model(self.spec.model_of(label), data, seed=self.spec.train_seeds[0]).to(self.device)

    def _time_update(self, label: str, model: nn.Module, data: DataSet, description: str) -> float:
        """Return the time of an update, with the creation of its batches [s]."""
        self.on_status(f"timing a training step: {description}")
        config = self.spec.config_of(label)
        images = data.training_images(self.spec.data_of(label).build_augmentation()).to(self.device)
        method = _at_full_strength(self.spec.method(label, seed=0))
        if config.channels_last:
            model.to(memory_format=torch.channels_last)
        trained = torch.compile(model) if config.compile else model
        assert isinstance(trained, nn.Module)
        optimizer = config.base_optimizer(model)

        updates = min(UPDATES, config.updates_per_epoch(len(images)))

        def seconds(batch_size: int) -> float:
            step = partial(
                train_epoch,
                trained,
                method,
                replace(config, batch_size=batch_size),
                optimizer,
                images,
                train_seed=0,
                epoch=1,
                autocast=lambda: torch.autocast(
                    self.device.type, torch.bfloat16, enabled=config.precision == "bf16-mixed"
                ),
                max_updates=updates,
            )
            return self._median_s(repeat(step)) / updates

        initial_state = {name: value.clone() for name, value in model.state_dict().items()}
        full_size = size = min(config.batch_size, len(images))
        if not config.compile:  # which would compile anew for each size
            few = min(FEW, size)
            size = affordable_batch(updates * seconds(few), few, size)
        update_s = seconds(size) * full_size / size
        model.load_state_dict(initial_state)
        scaled = f" (timed on {size}, scaled)" if size < full_size else ""
        self._note(f"{description}: {update_s:.2g} s for an update of {full_size} images{scaled}")
        return update_s

    def _time_validation(self, label: str, model: nn.Module, data: DataSet, name: str) -> Cost:
        self.on_status(f"timing a validation: {name}")
        stopping = self.spec.config_of(label).early_stopping
        cost = self._fit_cost(data, lambda batch: repeat(lambda: validate(model, stopping, batch, 0)))
        self._note(f"{name}: {cost.of(1000):.2g} s to validate 1000 images after an epoch")
        return cost

    def _time_chip(self, target: Target | LandscapeSpec, model: nn.Module, data: DataSet, description: str) -> Cost:
        self.on_status(f"timing a chip: {description}")
        model.eval()
        example = self._batch(data, FEW)
        cost = self._fit_cost(data, lambda batch: chip_steps(model, target, batch, example))
        self._note(
            f"{description}: {cost.fixed_s:.2g} s for a chip, and {1000 * cost.per_image_s:.2g} s for 1000 images"
        )
        return cost

    def _time_diagnostics(self, label: str, model: nn.Module, data: DataSet) -> float:
        """Return the time of an epoch's diagnostics [s]; it is proportional to their images."""
        config = self.spec.build_diagnostics()
        if config is None:
            return 0.0
        self.on_status("timing the diagnostics")
        size = min(config.batch_size, 2 * FEW)
        batch = self._batch(data, size)
        diagnostics = Diagnostics(
            replace(config, images=size, batch_size=size),
            training=batch,
            test=batch,
            loss_fn=loss_function(self.spec.config_of(label)),
        )
        method = _at_full_strength(self.spec.method(label, seed=0))
        seconds = self._median_s(repeat(lambda: diagnostics(model, method, 1))) * config.images / size
        self._note(f"{self.spec.model_of(label).name}: {seconds:.2g} s of diagnostics after an epoch")
        return seconds

    def _fit_cost(self, data: DataSet, steps: Callable[[Batch], Iterator[None]]) -> Cost:
        """Time steps on batches of two sizes, and return the cost as a function of the images."""
        few, many = (FEW, MANY) if self.device.type == "cpu" else (GPU_FEW, GPU_MANY)
        small = self._batch(data, few)
        small_s = self._median_s(steps(small))
        large = self._batch(data, affordable_batch(small_s, few, many))
        return Cost.from_two_points((len(small[1]), small_s), (len(large[1]), self._median_s(steps(large))))

    def _batch(self, data: DataSet, images: int) -> Batch:
        return next(iter(data.batches("test", images, self.device)))

    def _median_s(self, steps: Iterable[object]) -> float:
        return median_s(steps, self.device)

    def _note(self, line: str) -> None:
        self.lines.append(line)


def _at_full_strength(method: Method) -> Method:
    return replace(method, ramp=CONSTANT_RAMP)


def _count(split: tuple[object, torch.Tensor]) -> int:
    """Return the number of images of a split."""
    return len(split[1])
