"""What a comparison's work costs on this machine: a training step and a chip of each kind, timed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from aimc_robust.analysis.diagnostics import Diagnostics
from aimc_robust.analysis.fixed_radius import ascent_noise, sigma_for_radius
from aimc_robust.analysis.landscape import filter_directions
from aimc_robust.data.batches import split_batches
from aimc_robust.data.dataset import DataSet, load_data
from aimc_robust.errors import AimcError
from aimc_robust.evaluation.monte_carlo import evaluate_chips
from aimc_robust.experiments.planning.timer import MOST_REPETITIONS, Cost, affordable_batch, median_s
from aimc_robust.experiments.planning.workload import method_kind, target_kind
from aimc_robust.experiments.spec.comparison import ComparisonSpec
from aimc_robust.hardware.calibration.converter_ranges import calibrate
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.metrics import Batch
from aimc_robust.models.registry import build_model
from aimc_robust.noise.gaussian import Gaussian
from aimc_robust.targets.target import Target
from aimc_robust.training.epoch import EVALUATION_BATCH, loss_function, validate
from aimc_robust.training.fabric import Machine
from aimc_robust.training.methods.base import Method
from aimc_robust.training.methods.ramp import CONSTANT_RAMP

FEW, MANY = 16, EVALUATION_BATCH  # images on a CPU: two numbers of them tell what is fixed from what grows
GPU_FEW, GPU_MANY = EVALUATION_BATCH, 4 * EVALUATION_BATCH  # fewer would not keep it busy


@dataclass(frozen=True)
class TrialCost:
    """What one model costs: seconds of an epoch with its validation, of a chip of each target; bytes of its weights."""

    epoch_s: float
    chip_s: dict[str, float]
    weights_bytes: int


class CostModel:
    """Times each kind of work of a spec once: the same network, images, recipe and method, or kind of target.

    threads: torch's while it times; None: as they are. told: called with a line on each timing that is about to begin.
    lines: what was measured, in words. Untrained weights: their values cost the same.
    """

    def __init__(
        self,
        spec: ComparisonSpec,
        *,
        data_folder: Path,
        machine: Machine,
        threads: int | None = None,
        told: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.spec, self.data_folder, self.threads, self.told = spec, data_folder, threads, told
        on_cpu = machine.device_name == "cpu"
        self.device = torch.device("cpu") if on_cpu else torch.accelerator.current_accelerator()
        self.lines: list[str] = []
        self._known: dict[str, Any] = {}

    def cost(self, label: str, targets: Sequence[Target]) -> TrialCost:
        """The cost of a model of the method `label`, and of a chip of each of `targets`.

        Raises what loading its data or building its network raises; the same again for each label with that fault.
        """
        with _threads(self.threads):
            network = f"{self.spec.data_of(label).model_dump_json()} {self.spec.model_of(label).model_dump_json()}"
            data = self._once(f"data {self.spec.data_of(label).model_dump_json()}", lambda: self._data(label))
            model = self._once(f"model {network}", lambda: self._model(label, data))
            name, config = self.spec.model_of(label).name, self.spec.config_of(label)
            settings = (config.batch_size, config.precision, config.channels_last, config.compile, config.optimizer)
            kind = method_kind(self.spec.method(label, seed=0))
            update_s = self._once(
                f"update {network} {settings} {kind}", lambda: self._update(label, model, data, f"{name}, {kind}")
            )
            checks = self._once(
                f"validation {network} {config.early_stopping}", lambda: self._validation(label, model, data, name)
            )
            updates = config.updates_per_epoch(_count(data.training))
            probe_s = self._once(f"probe {network} {kind}", lambda: self._probe(label, model, data))
            chip_s = {}
            for target in targets:
                what = target_kind(target)
                chip = self._once(
                    f"chip {network} {what}", lambda t=target, w=what: self._chip(t, model, data, name, w)
                )
                chip_s[target.name] = chip.of(_count(data.test if target.split == "test" else data.training))
            epoch_s = updates * update_s + checks.of(_count(data.validation)) + probe_s
        return TrialCost(epoch_s, chip_s, sum(v.numel() * v.element_size() for v in model.state_dict().values()))

    def _once(self, key: str, make: Callable[[], Any]) -> Any:
        if key not in self._known:
            try:
                self._known[key] = make()
            except AimcError as error:
                self._known[key] = error
        if isinstance(self._known[key], AimcError):
            raise self._known[key]
        return self._known[key]

    def _data(self, label: str) -> DataSet:
        self.told(f"loading {self.spec.data_of(label).name}")
        return load_data(self.spec.data_of(label), seed=self.spec.seed, folder=self.data_folder)

    def _model(self, label: str, data: DataSet) -> nn.Module:
        return build_model(self.spec.model_of(label), data, seed=self.spec.train_seeds[0]).to(self.device)

    def _update(self, label: str, model: nn.Module, data: DataSet, what: str) -> float:
        """Seconds of an update, with the making of its batches."""
        self.told(f"timing a training step: {what}")
        config = self.spec.config_of(label)
        images = data.training_images(self.spec.data_of(label).built_augmentation()).to(self.device)
        method = _at_full_strength(self.spec.method(label, seed=0))
        running = torch.compile(model) if config.compile else model
        if config.channels_last:
            model.to(memory_format=torch.channels_last)
        optimizer, loss_fn = config.base_optimizer(model), loss_function(config)

        def steps(size: int) -> Iterator[None]:
            streams = [images.epoch(1, batch_size=size, stream=stream) for stream in method.shard(0, 1)[0]]
            for batches in zip(*streams, strict=True):
                if config.channels_last:
                    batches = [(x.contiguous(memory_format=torch.channels_last), y) for x, y in batches]
                optimizer.zero_grad()
                with torch.autocast(self.device.type, torch.bfloat16, enabled=config.precision == "bf16-mixed"):
                    method.backward(running, loss_fn, batches, step=1)
                if config.clip_norm is not None:
                    nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
                optimizer.step()
                yield

        before = {name: value.clone() for name, value in model.state_dict().items()}
        whole = size = min(config.batch_size, len(images))
        model.train()
        if not config.compile:  # which would compile for each size
            few = min(FEW, size)
            size = affordable_batch(self._seconds(steps(few)), few, size)
        seconds = self._seconds(steps(size)) * whole / size
        model.load_state_dict(before)
        scaled = f" (timed on {size}, scaled)" if size < whole else ""
        self._note(f"{what}: {seconds:.2g} s for an update of {whole} images{scaled}")
        return seconds

    def _validation(self, label: str, model: nn.Module, data: DataSet, what: str) -> Cost:
        stopping = self.spec.config_of(label).early_stopping
        self.told(f"timing a validation: {what}")
        cost = self._cost(data, lambda batch: _again(lambda: validate(model, stopping, batch, 0)))
        self._note(f"{what}: {cost.of(1000):.2g} s to validate 1000 images after an epoch")
        return cost

    def _chip(self, target: Target, model: nn.Module, data: DataSet, name: str, what: str) -> Cost:
        self.told(f"timing a chip: {name} on {what}")
        model.eval()
        few = [self._batch(data, FEW)[0]]
        condition, deployment = target.condition, None
        if isinstance(condition, Crossbar):
            condition = calibrate(model, condition, few) if condition.needs_ranges else condition
            deployment = replace(target.deployment, data=few)
        elif target.direction == "random":
            condition = Gaussian(sigma_for_radius(model, target.radius, condition.scale), condition.scale)
        elif target.landscape is not None:
            condition = target.landscape.step(filter_directions(model, seed=0), 0)

        def chips(batch: Batch) -> Iterator[None]:
            batches = split_batches(batch, EVALUATION_BATCH)
            if condition is not None:
                numbers = range(1 + MOST_REPETITIONS)
                yield from (
                    None for _ in evaluate_chips(model, batches, condition, chips=numbers, deployment=deployment)
                )
                return
            while True:
                noise = ascent_noise(model, *self._batch(data, FEW), target.radius) if target.direction else None
                list(evaluate_chips(model, batches, noise, chips=[0]))
                yield

        cost = self._cost(data, lambda batch: chips(batch))
        self._note(
            f"{name} on {what}: {cost.fixed_s:.2g} s for a chip, and {1000 * cost.per_image_s:.2g} s for 1000 images"
        )
        return cost

    def _probe(self, label: str, model: nn.Module, data: DataSet) -> float:
        """Seconds of an epoch's diagnostics; they grow with their images."""
        config = self.spec.build_diagnostics()
        if config is None:
            return 0.0
        self.told("timing the diagnostics")
        size = min(config.batch_size, 2 * FEW)
        batch = self._batch(data, size)
        probe = Diagnostics(
            replace(config, images=size, batch_size=size),
            training=batch,
            test=batch,
            loss_fn=loss_function(self.spec.config_of(label)),
        )
        method = _at_full_strength(self.spec.method(label, seed=0))
        seconds = self._seconds(_again(lambda: probe(model, method, 1))) * config.images / size
        self._note(f"{self.spec.model_of(label).name}: {seconds:.2g} s of diagnostics after an epoch")
        return seconds

    def _cost(self, data: DataSet, work: Callable[[Batch], Iterator[None]]) -> Cost:
        """The cost of work that does a thing again and again on a batch."""
        few, many = (FEW, MANY) if self.device.type == "cpu" else (GPU_FEW, GPU_MANY)
        small = self._batch(data, few)
        seconds = self._seconds(work(small))
        large = self._batch(data, affordable_batch(seconds, few, many))
        return Cost.from_two_points((len(small[1]), seconds), (len(large[1]), self._seconds(work(large))))

    def _batch(self, data: DataSet, images: int) -> Batch:
        return next(iter(data.batches("test", images, self.device)))

    def _seconds(self, steps: Iterable[object]) -> float:
        return median_s(steps, self.device)

    def _note(self, line: str) -> None:
        self.lines.append(line)


def _at_full_strength(method: Method) -> Method:
    return replace(method, ramp=CONSTANT_RAMP)


def _again(work: Callable[[], object]) -> Iterator[None]:
    while True:
        work()
        yield


def _count(part: Batch) -> int:
    """Images of a split."""
    return len(part[1])


@contextmanager
def _threads(threads: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
