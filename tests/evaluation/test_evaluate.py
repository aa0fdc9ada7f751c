"""`evaluate`: several models, conditions and times, a wished precision, further metrics, bounded memory."""

import copy
import gc
import os
import subprocess
import sys
import textwrap
import weakref

import numpy as np
import pandas as pd
import pytest
import torch
from support.measure import measure
from support.nets import CLASSES, batches, deployed, everything, images, net
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from aimc_robust import Crossbar, Deployment, Gaussian, evaluate, evaluate_grid, program
from aimc_robust.data.batches import split_batches
from aimc_robust.errors import DataError, InputError, UnknownNameError
from aimc_robust.evaluation.evaluate import evaluate_until_precise
from aimc_robust.evaluation.monte_carlo import evaluate_chips
from aimc_robust.hardware.conversion.prepare import prepare
from aimc_robust.hardware.program import chip_axes, program_prepared
from aimc_robust.statistics.t_interval import t_quantile
from aimc_robust.statistics.two_stage_sampling import DEFAULT_PILOT, chips_needed

DAY_S = 86400.0
RRAM, PCM = Crossbar("rram-wan2022"), Crossbar("pcm-nandakumar2019", read_noise=False)


def flat(n=120):
    """All images and labels in one batch."""
    return batches(n, size=n)[0]


class TestGrid:
    def test_one_condition_and_time_is_one_estimate(self):
        assert evaluate(net(), batches(), PCM, chips=3, time_s=DAY_S).chips == 3

    def test_conditions_by_name_are_those_one_by_one(self):
        conditions = {"rram": RRAM, "noise": Gaussian(0.2), "exact": None}
        found = evaluate_grid(net(), batches(), conditions, chips=3)
        assert list(found) == [("rram", 0.0), ("noise", 0.0), ("exact", 0.0)]
        for name, condition in conditions.items():
            assert found[name, 0.0].table.equals(evaluate(net(), batches(), condition, chips=3).table)
        assert [estimate.chips for estimate in found.values()] == [3, 3, 1]

    def test_times_are_those_one_by_one_and_the_same_chips(self):
        found = evaluate_grid(net(), batches(), {"pcm": PCM}, chips=3, time_s=[0.0, DAY_S])
        assert (found.conditions, found.times_s) == (["pcm"], [0.0, DAY_S])
        for (_, time_s), estimate in found.items():
            assert estimate.table.equals(evaluate(net(), batches(), PCM, chips=3, time_s=time_s).table)
        assert not found["pcm", 0.0].table.equals(found["pcm", DAY_S].table)
        for chip, row in found["pcm", DAY_S].table.set_index("chip").iterrows():
            assert row["loss"] == measure(program(net(), PCM, chip=chip, time_s=DAY_S), batches()).loss

    def test_a_frame_has_a_row_for_each_condition_and_time(self):
        found = evaluate_grid(net(), batches(), {"pcm": PCM, "digital": None}, chips=3, time_s=[0.0, DAY_S])
        frame = found.to_frame().set_index(["condition", "time_s"])
        assert list(frame.index) == list(found)
        assert list(frame.columns) == ["mean", "sd_noise", "sd_seed", "ci_low", "ci_high", "chips"]
        for key, estimate in found.items():
            row = frame.loc[key]
            expected = [estimate.mean, estimate.sd_noise, estimate.sd_seed, *estimate.ci, estimate.chips]
            np.testing.assert_array_equal(row.to_numpy(), expected)

    def test_a_deployment_is_for_all_crossbars_or_for_those_that_are_named(self):
        conditions, aged = {"everything": everything(), "pcm": PCM, "digital": None}, {"chips": 2, "time_s": DAY_S}
        options = {"jobs": 1, **aged}
        named = evaluate_grid(net(), batches(), conditions, deployment={"everything": deployed()}, **options)
        shared = evaluate_grid(net(), batches(), conditions, deployment=deployed(), **options)
        for found in (named, shared):
            alone = evaluate(net(), batches(), everything(), deployment=deployed(), **options)
            assert found["everything", DAY_S].table.equals(alone.table)
            assert found["pcm", DAY_S].table.equals(evaluate(net(), batches(), PCM, **options).table)
        with pytest.raises(UnknownNameError, match="'pmc'"):
            evaluate_grid(net(), batches(), conditions, deployment={"pmc": deployed()}, **options)
        with pytest.raises(InputError, match="'digital'"):
            evaluate_grid(net(), batches(), conditions, deployment={"digital": deployed()}, **options)

    def test_conditions_and_times_are_pairs_and_a_noise_has_no_time(self):
        found = evaluate_grid(net(), batches(), {"pcm": PCM, "noise": Gaussian(0.2)}, chips=2, time_s=(0.0, DAY_S))
        assert list(found) == [("pcm", 0.0), ("pcm", DAY_S), ("noise", 0.0), ("noise", DAY_S)]
        assert found["noise", 0.0].table.equals(found["noise", DAY_S].table)
        assert not found["pcm", 0.0].table.equals(found["pcm", DAY_S].table)

    def test_a_time_without_a_crossbar_is_refused(self):
        with pytest.raises(InputError, match="crossbar"):
            evaluate(net(), batches(), Gaussian(0.2), time_s=1.0)

    def test_models_are_seeds_on_the_same_chips(self):
        models = [net(0), net(5)]
        table = evaluate(models, batches(), RRAM, chips=3).table
        assert list(zip(table["train_seed"], table["chip"], strict=True)) == [(s, c) for s in (0, 1) for c in range(3)]
        for seed, model in enumerate(models):
            alone = evaluate(model, batches(), RRAM, chips=3).table
            assert list(table[table["train_seed"] == seed]["loss"]) == list(alone["loss"])

    @pytest.mark.parametrize("given", [{"model": []}, {"conditions": {}}, {"time_s": []}], ids=str)
    def test_nothing_to_evaluate_is_refused(self, given):
        arguments = {"model": net(), "conditions": {"rram": RRAM}} | given
        with pytest.raises(InputError, match="at least one"):
            evaluate_grid(arguments.pop("model"), batches(), **arguments)


class TestBatches:
    def test_a_data_loader_gives_what_a_list_gives(self):
        loader = DataLoader(TensorDataset(*flat()), batch_size=50)
        for jobs in (1, 2):
            found = evaluate_grid([net(), net(3)], loader, {"a": RRAM, "b": None}, chips=2, jobs=jobs)
            expected = evaluate_grid([net(), net(3)], batches(), {"a": RRAM, "b": None}, chips=2, jobs=1)
            assert all(found[key].table.equals(expected[key].table) for key in expected)

    def test_one_shot_iterators_last_for_all_models_conditions_times_and_chips(self):
        models, conditions = [net(), net(3)], {"pcm": PCM, "noise": Gaussian(0.1)}
        options = {"chips": 2, "time_s": [0.0, DAY_S]}
        from_list, from_iterator = (
            Deployment(compensation=("batchnorm",), data=data) for data in ([images(60)], iter([images(60)]))
        )
        expected = evaluate_grid(models, batches(), conditions, deployment=from_list, **options)
        found = evaluate_grid(models, iter(batches()), conditions, deployment=from_iterator, **options)
        assert list(found) == list(expected)
        assert all(found[key].table.equals(expected[key].table) for key in expected)


class TestPrecision:
    wide, narrow = 1.0, 0.01

    def test_it_stops_early_at_the_number_that_the_pilot_asks_for(self):
        full = evaluate(net(), batches(), RRAM, chips=60, jobs=1).table
        pilot = full["accuracy"].to_numpy()[:DEFAULT_PILOT]
        half_width = 0.6 * t_quantile(DEFAULT_PILOT - 1) * pilot.std(ddof=1) / DEFAULT_PILOT**0.5
        wanted = chips_needed(pilot, half_width)
        assert DEFAULT_PILOT < wanted < 60
        found = evaluate(net(), batches(), RRAM, chips=60, precision=half_width, jobs=1)
        assert len(found.table) == wanted
        assert found.table.equals(full.head(wanted))
        assert found.pilot == DEFAULT_PILOT
        low, high = found.ci
        assert (high - low) / 2 <= half_width * (1 + 1e-9)

    def test_it_never_takes_more_chips_than_allowed(self):
        found = evaluate(net(), batches(), RRAM, chips=13, precision=1e-3)
        assert found.table.equals(evaluate(net(), batches(), RRAM, chips=13).table)
        assert evaluate(net(), batches(), RRAM, chips=4, precision=1e-3).chips == 4

    def test_a_wide_one_needs_the_pilot_alone(self):
        assert evaluate(net(), batches(), RRAM, chips=60, precision=90.0).chips == DEFAULT_PILOT

    def test_the_number_of_jobs_changes_nothing(self):
        one, two = (evaluate(net(), batches(), RRAM, chips=25, precision=2.0, jobs=jobs).table for jobs in (1, 2))
        assert one.equals(two)
        assert DEFAULT_PILOT < len(one) < 25

    def test_each_model_stops_by_its_own_pilot(self):
        models = [net(), net(8)]
        table = evaluate(models, batches(), RRAM, chips=40, precision=2.0).table
        for seed, model in enumerate(models):
            alone = evaluate(model, batches(), RRAM, chips=40, precision=2.0).table
            assert list(table[table["train_seed"] == seed]["loss"]) == list(alone["loss"])

    def test_digital_weights_need_one_chip(self):
        assert len(evaluate(net(), batches(), None, chips=25, precision=0.1).table) == 1

    @pytest.mark.parametrize("known", [range(4), range(DEFAULT_PILOT), range(14), [1, 5, 12], range(40)], ids=str)
    def test_what_is_known_is_not_measured_again_and_changes_nothing(self, known):
        full = dict(evaluate_chips(net(), batches(), RRAM, chips=range(40), jobs=1))
        fresh = dict(evaluate_until_precise(net(), batches(), RRAM, chips=40, precision=2.0, jobs=1))
        assert DEFAULT_PILOT < len(fresh) < 40
        accuracies = {chip: full[chip].value for chip in known}
        rest = dict(evaluate_until_precise(net(), batches(), RRAM, chips=40, precision=2.0, known=accuracies, jobs=1))
        assert rest == {chip: measured for chip, measured in fresh.items() if chip not in accuracies}

    @pytest.mark.parametrize(("precision", "chips"), [(0.0, 25), (1.0, 1), (-1.0, 25), (float("nan"), 25), ("1", 25)])
    def test_one_that_cannot_be_is_refused(self, precision, chips):
        with pytest.raises(InputError, match="precision"):
            evaluate(net(), batches(), RRAM, chips=chips, precision=precision)


def macro_recall(outputs, labels):
    """The mean over classes of their share of right images: no mean over images, nor over batches."""
    predicted = outputs.argmax(1)
    return torch.stack([(predicted[labels == c] == c).double().mean() for c in labels.unique()]).mean()


class TestMetrics:
    def test_one_sees_all_outputs_at_once_and_in_order(self):
        x, y = flat()
        table = evaluate(net(), batches(size=30), Gaussian(0.3), chips=3, metrics={"recall": macro_recall}).table
        for size in (1, 7, 120):
            other = evaluate(
                net(), split_batches((x, y), size), Gaussian(0.3), chips=3, metrics={"recall": macro_recall}
            ).table
            assert list(other["recall"]) == pytest.approx(list(table["recall"]), abs=1e-12)
        noisy = program(net(), RRAM)
        with torch.no_grad():
            outputs = noisy(x)
            by_batches = sum(float(macro_recall(noisy(a), b)) for a, b in batches(size=30)) / 4
        found = evaluate(net(), batches(size=30), RRAM, chips=1, metrics={"recall": macro_recall}).table["recall"][0]
        assert found == pytest.approx(float(macro_recall(outputs, y)))
        assert found != pytest.approx(by_batches, abs=1e-3)  # control

    def test_several_are_columns_with_estimates_of_their_own(self):
        metrics = {"recall": macro_recall, "margin": lambda outputs, labels: outputs.max()}
        found = evaluate(net(), batches(), RRAM, chips=4, jobs=2, metrics=metrics)
        assert list(found.table.columns) == ["train_seed", "chip", "accuracy", "loss", "n", "recall", "margin"]
        assert found.for_column("margin").mean == pytest.approx(found.table["margin"].mean())

    def test_a_value_that_is_not_finite_is_none(self):
        metrics = {"nan": lambda *_: float("nan"), "infinite": lambda *_: torch.tensor(float("inf"))}
        assert measure(net(), batches(), metrics).metrics == (("nan", None), ("infinite", None))
        found = evaluate(net(), batches(), None, metrics=metrics)
        with pytest.raises(InputError, match="'nan'"):
            found.for_column("nan")

    @pytest.mark.parametrize(
        ("metric", "says"),
        [
            (lambda outputs, labels: 1 / 0, "ZeroDivisionError: division by zero"),
            (lambda outputs: 1.0, "TypeError"),
            (lambda outputs, labels: "good", "ValueError: could not convert string to float: 'good'"),
            (lambda outputs, labels: None, "TypeError"),
            (lambda outputs, labels: outputs, "only one element"),
            (lambda outputs, labels: {}["recall"], "KeyError: 'recall'"),
        ],
        ids=["raises", "one argument", "text", "none", "a tensor", "key"],
    )
    def test_one_that_raises_or_returns_no_number_is_named(self, metric, says):
        with pytest.raises(InputError, match="'mine'") as caught:
            evaluate(net(), batches(), None, metrics={"mine": metric})
        assert says in str(caught.value)
        assert "outputs (120, 7) and labels (120,)" in str(caught.value)

    @pytest.mark.parametrize("name", ["accuracy", "loss", "n", "train_seed", "chip", "mean", "ci_low"])
    def test_a_name_that_is_taken_is_refused_before_any_work(self, name):
        with pytest.raises(InputError, match=f"the metric '{name}' must be a function"):
            evaluate(net(), iter([]), RRAM, metrics={name: macro_recall})

    @pytest.mark.parametrize(
        "metrics", [{"f1": 0.5}, {"f1": "f1"}, macro_recall, [macro_recall]], ids=["number", "text", "function", "list"]
    )
    def test_what_is_no_function_under_a_name_is_refused(self, metrics):
        with pytest.raises(InputError, match="metric"):
            evaluate(net(), batches(), RRAM, metrics=metrics)


class TestTopFive:
    @pytest.mark.parametrize("classes", [6, 10])
    def test_it_is_a_plain_loops(self, classes):
        x, _ = flat()
        y = torch.randint(classes, (len(x),), generator=torch.Generator().manual_seed(2))
        model = net(classes=classes)
        with torch.no_grad():
            scores = model(x).tolist()
        right = sum(sum(s > row[label] for s in row) < 5 for row, label in zip(scores, y.tolist(), strict=True))
        (row,) = evaluate(model, split_batches((x, y), 32), None, metrics=["top5"]).table.to_dict("records")
        assert row["top5"] == pytest.approx(100.0 * right / len(x))
        assert row["accuracy"] < row["top5"] < 100.0

    @pytest.mark.parametrize("classes", [2, 5])
    def test_up_to_five_classes_it_is_refused(self, classes):
        x, y = flat()
        with pytest.raises(InputError, match=f"top5 needs more than five classes, got {classes}"):
            evaluate(net(classes=classes), [(x, y % classes)], None, metrics=["top5"])


class Returns(nn.Module):
    """A model that returns what it was made with."""

    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, x):
        return self.value


class TestBadData:
    @pytest.mark.parametrize(("label", "says"), [(CLASSES, "0 to 7"), (-1, "-1 to"), (200, "0 to 200")])
    @pytest.mark.parametrize("condition", [None, RRAM], ids=["digital", "crossbar"])
    @pytest.mark.parametrize("jobs", [None, 2])
    def test_labels_out_of_range_are_refused(self, label, says, condition, jobs):
        x, y = flat()
        y = y.clone()
        y[y == 0] = 1
        y[0], y[3] = 0, label
        with pytest.raises(DataError, match=f"labels run from {says}.*the model has 7 outputs: expected labels 0 to 6"):
            evaluate(net(), [(x, y)], condition, chips=2, jobs=jobs)

    @pytest.mark.parametrize(
        "labels",
        [
            torch.zeros(120),
            torch.zeros(120, 1, dtype=torch.long),
            nn.functional.one_hot(torch.zeros(120, dtype=torch.long), CLASSES),
            torch.tensor(0),
        ],
        ids=["floats", "column", "one-hot", "one"],
    )
    def test_labels_of_another_shape_or_type_are_refused(self, labels):
        with pytest.raises(DataError, match="label"):
            evaluate(net(), [(images(), labels)], None)

    @pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32])
    def test_labels_may_be_whole_numbers_of_any_width(self, dtype):
        assert measure(net(), [(x, y.to(dtype)) for x, y in batches()]) == measure(net(), batches())

    @pytest.mark.parametrize(
        ("outputs", "says"),
        [
            (torch.zeros(120), r"got \(120,\)"),
            (torch.zeros(119, 7), r"got \(119, 7\)"),
            (torch.zeros(120, 7, 1, 1), r"got \(120, 7, 1, 1\)"),
            ((torch.zeros(120), torch.zeros(1)), r"got \(120,\)"),
            ({"logits": torch.zeros(119, 7)}, r"got \(119, 7\)"),
        ],
        ids=["flat", "fewer", "map", "tuple", "dict"],
    )
    def test_outputs_of_another_shape_or_type_are_refused(self, outputs, says):
        with pytest.raises(DataError, match=r"return \(120 images, classes\) scores, " + says):
            measure(Returns(outputs), [flat()])

    @pytest.mark.parametrize("none", [list, lambda: iter([]), lambda: [(images(0), torch.zeros(0, dtype=torch.long))]])
    @pytest.mark.parametrize("condition", [None, RRAM], ids=["digital", "crossbar"])
    def test_no_images_are_refused(self, none, condition):
        with pytest.raises(DataError, match="batch"):
            evaluate(net(), none(), condition)


MEMORY = """
    import resource, torch
    from torch import nn
    from aimc_robust import Crossbar, evaluate

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(600, 600), nn.ReLU(), nn.Linear(600, 10))
    data = [(torch.randn(20, 600), torch.randint(10, (20,)))]
    for read_noise in (False, True):
        for chips in (5, 40):
            evaluate(model, data, Crossbar("pcm-nandakumar2019", read_noise=read_noise), chips=chips, time_s=86400.0)
            print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss in kilobytes")
def test_memory_does_not_grow_with_the_number_of_chips():
    command = [sys.executable, "-c", textwrap.dedent(MEMORY)]
    said = subprocess.run(
        command, capture_output=True, text=True, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    five, forty, five_on_arrays, forty_on_arrays = map(int, said.stdout.split())
    weights_kib = 4 * 600 * 610 / 1024
    assert forty - five < 6 * weights_kib  # of 35 chips more; malloc keeps some for itself
    assert forty_on_arrays - five_on_arrays < 6 * weights_kib


@pytest.mark.parametrize("crossbar", [PCM, everything], ids=["weights", "arrays"])
@pytest.mark.parametrize(
    "model", [net, lambda: nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)], ids=["net", "attention"]
)
def test_nothing_of_a_chip_is_left_when_it_is_done_with(model, crossbar):
    crossbar, (ready, _) = crossbar() if callable(crossbar) else crossbar, prepare(model())
    gc.collect()
    gc.disable()  # what waits for the collector may be gigabytes of weights
    try:
        analog = program_prepared(copy.deepcopy(ready), crossbar, chip_axes(0, 0), time_s=DAY_S)
        parts = [weakref.ref(module) for module in analog.modules()]
        parts += [weakref.ref(tensor) for tensor in (*analog.parameters(), *analog.buffers())]
        del analog
        assert [part() for part in parts if part() is not None] == []
    finally:
        gc.enable()


def test_a_model_is_measured_with_every_error_as_program_builds_it():
    table = evaluate(net(), batches(), everything(), chips=2, chip_seed=4, time_s=DAY_S, deployment=deployed()).table
    rows = [
        {"train_seed": 0, "chip": chip}
        | measure(
            program(net(), everything(), chip_seed=4, chip=chip, time_s=DAY_S, deployment=deployed()), batches()
        ).row()
        for chip in range(2)
    ]
    assert table.equals(pd.DataFrame(rows))
