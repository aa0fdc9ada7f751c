"""Ways in which a task, its data or a model can mislead: the right value, or one sentence."""

import math
import warnings
from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

import aimc_robust as ar

GENERATOR = torch.Generator().manual_seed(0)
X, Y = torch.randn(40, 6, generator=GENERATOR), torch.randn(40, 1, generator=GENERATOR)
DEVICE = ar.Crossbar("rram-wan2022", read_noise=False)
EXACT = ar.Crossbar("ideal", dac=ar.DAC(bits=8), adc=ar.ADC(bits=8))


def linear(outputs=1):
    torch.manual_seed(1)
    return nn.Linear(6, outputs)


def rmse(chips, batches):
    """Of each chip, in plain torch."""
    with torch.no_grad():
        return [float((chip(x) - y).square().mean().sqrt()) for chip in chips for x, y in batches]


class TestRegression:
    def test_labels_keep_their_precision_where_the_model_is_in_half_precision(self):
        model = linear().bfloat16()
        labels = Y + 1000.0
        with torch.no_grad():
            expected = float((model(X.bfloat16()).float() - labels).square().mean().sqrt())
        found = ar.evaluate(model, [(X.bfloat16(), labels)], None, task="regression").mean
        assert found == pytest.approx(expected, rel=1e-6)
        assert math.isfinite(ar.evaluate(model.half(), [(X.half(), labels * 100)], None, task="regression").mean)

    def test_training_in_mixed_precision_sees_the_labels_as_they_are(self):
        model = linear()
        nn.init.zeros_(model.weight)
        nn.init.constant_(model.bias, 1000.0)
        config = ar.TrainingConfig(epochs=1, batch_size=40, label_smoothing=0.0, lr=1e-12, precision="bf16-mixed")
        data = (X, Y + 1000.0)
        history = ar.train(model, ar.SGD(), config, training_set=data, validation_set=data, task="regression").history
        assert history[0]["train_loss"] == pytest.approx(float(Y.square().mean()), rel=1e-3)

    def test_flat_outputs_and_labels(self):
        model = nn.Sequential(linear(), nn.Flatten(0))
        expected = rmse([model], [(X, Y[:, 0])])[0]
        assert ar.evaluate(model, [(X, Y[:, 0])], None, task="regression").mean == pytest.approx(expected)
        config = ar.TrainingConfig(epochs=1, batch_size=8, label_smoothing=0.0)
        data = (X, Y[:, 0])
        assert ar.train(model, ar.SGD(), config, training_set=data, validation_set=data, task="regression").history

    def test_batches_of_other_widths_are_refused(self):
        class Wide(nn.Module):
            def __init__(self):
                super().__init__()
                self.layer = linear(4)

            def forward(self, x):
                return self.layer(x)[:, : int(x[0, 0].abs() * 0) + len(x)]

        batches = [(X[:4], torch.randn(4, 4)), (X[:2], torch.randn(2, 2))]
        with pytest.raises(ar.AimcError, match="got 2 after 4"):
            ar.evaluate(Wide(), batches, None, task="regression")

    def test_a_coefficient_of_determination_without_spread_is_not_defined(self):
        with pytest.raises(ar.AimcError, match="R² is not defined"):
            ar.evaluate(linear(), [(X, Y * 0)], None, task=ar.Regression(metric="r2"))


class TestModelsThatWrite:
    class InPlace(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = linear()

        def forward(self, x):
            return self.layer(x.sub_(1.0))

    @pytest.mark.parametrize("jobs", [None, 2])
    def test_inputs_are_the_same_on_every_chip(self, jobs):
        before = X.clone()
        found = ar.evaluate(self.InPlace(), [(X, Y)], DEVICE, chips=4, task="regression", jobs=jobs).table["rmse"]
        assert torch.equal(X, before)
        chips = [ar.program(self.InPlace(), DEVICE, chip=chip) for chip in range(4)]
        assert found.tolist() == pytest.approx([rmse([chip], [(X.clone(), Y)])[0] for chip in chips], rel=1e-6)

    @pytest.mark.parametrize("condition", [ar.Gaussian(0.0), None, DEVICE])
    def test_buffers_are_the_same_on_every_chip(self, condition):
        class Counts(nn.Module):
            def __init__(self):
                super().__init__()
                self.layer = linear()
                self.register_buffer("calls", torch.zeros(()))

            def forward(self, x):
                self.calls += 1
                return self.layer(x) + self.calls

        model = Counts()
        table = ar.evaluate(model, [(X, Y)], condition, chips=3, task="regression").table
        again = ar.evaluate(model, [(X, Y)], condition, chips=3, task="regression").table
        assert table.equals(again)
        assert (condition is not None and (isinstance(condition, ar.Crossbar) or table["rmse"].nunique() == 1)) or (
            condition is None
        )


class TestFoldingCheck:
    class Net(nn.Module):
        def __init__(self, mask):
            super().__init__()
            torch.manual_seed(0)
            self.first, self.norm, self.last = nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 4)
            self.norm.running_mean.uniform_(-1, 1)
            self.norm.running_var.uniform_(0.5, 2)
            self.mask = mask

        def forward(self, x):
            return self.last(self.norm(self.first(x)).relu()) + self.mask

    def test_outputs_of_minus_infinity_do_not_prevent_folding(self):
        model = self.Net(torch.tensor([0.0, 0.0, 0.0, -math.inf])).eval()
        assert list(ar.coverage(model, X[:2]).folding.folded) == ["norm"]

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_half_precision_does_not_prevent_folding(self, dtype):
        deep = nn.Sequential(*[self.Net(torch.zeros(())) if i % 2 == 0 else nn.Linear(4, 6) for i in range(9)])
        deep = deep.eval().to(dtype)
        assert len(ar.coverage(deep, X[:2].to(dtype)).folding.folded) == 5


class TestWholeData:
    def test_a_tuple_of_two_tensors_is_inputs_and_labels_for_every_function(self):
        target = 100.0 * X
        ranges = ar.calibrate(nn.Sequential(linear(6)), EXACT, (X, target), percentile=1.0)
        assert ranges["0"].inputs == pytest.approx((float(X.min()), float(X.max())))
        torch.manual_seed(0)
        language_model = nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 9))
        tokens, labels = (torch.randint(0, 9, (5, 7), generator=GENERATOR) for _ in range(2))
        task = ar.LanguageModelling(shift=False)
        whole = ar.evaluate(language_model, (tokens, labels), None, task=task)
        assert whole.mean == pytest.approx(ar.evaluate(language_model, [(tokens, labels)], None, task=task).mean)
        assert whole.table["n"][0] == 35

    def test_tokens_alone_are_data(self):
        torch.manual_seed(0)
        model, tokens = nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 9)), torch.randint(0, 9, (20, 7))
        expected = ar.evaluate(model, [tokens], None, task="language-modelling").mean
        assert ar.evaluate(model, tokens, None, task="language-modelling").mean == pytest.approx(expected)

    def test_a_triple_is_all_data_in_evaluation_and_training(self):
        class Two(nn.Module):
            def __init__(self):
                super().__init__()
                self.layer = linear()

            def forward(self, a, b):
                return self.layer(a - b)

        data = (X, 2 * X, Y)
        expected = rmse([lambda x: Two()(x, 2 * x)], [(X, Y)])[0]
        assert ar.evaluate(Two(), data, None, task="regression").mean == pytest.approx(expected)
        config = ar.TrainingConfig(epochs=1, batch_size=8, label_smoothing=0.0)
        assert ar.train(Two(), ar.SGD(), config, training_set=data, validation_set=data, task="regression").history

    def test_a_masked_language_model_needs_labels(self):
        model = nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 9))
        with pytest.raises(ar.AimcError, match="shift=False"):
            ar.evaluate(model, [torch.randint(0, 9, (5, 7))], None, task=ar.LanguageModelling(shift=False))


class TestItems:
    def test_further_metrics_get_what_is_scored(self):
        scores, labels = torch.randn(30, 9, generator=GENERATOR), torch.randint(0, 9, (30,), generator=GENERATOR)
        labels[:15] = -100
        model = nn.Linear(9, 9)
        nn.init.eye_(model.weight)
        nn.init.zeros_(model.bias)
        expected = 100 * float((scores[15:].topk(5).indices == labels[15:, None]).any(1).double().mean())
        assert ar.evaluate(model, [(scores, labels)], None, metrics=["top5"]).table["top5"][0] == pytest.approx(
            expected
        )
        tokens = (scores.view(5, 6, 9), labels.view(5, 6))
        assert ar.evaluate(model, [tokens], None, metrics=["top5"]).table["top5"][0] == pytest.approx(expected)
        pixels = (scores.view(5, 2, 3, 9).movedim(-1, 1), labels.view(5, 2, 3))
        convolution = nn.Conv2d(9, 9, 1)
        nn.init.eye_(convolution.weight[:, :, 0, 0])
        nn.init.zeros_(convolution.bias)
        task = ar.Segmentation(ignore_index=-100)
        found = ar.evaluate(convolution, [pixels], None, metrics=["top5"], task=task).table["top5"][0]
        assert found == pytest.approx(expected)

    @pytest.mark.parametrize("method", [ar.SGD(), ar.SAM(rho=0.01, m=2)])
    def test_a_training_batch_in_which_nothing_is_scored_changes_nothing(self, method):
        tokens = torch.randint(0, 9, (8, 7), generator=GENERATOR)
        labels = tokens.clone()
        labels[:4] = -100
        torch.manual_seed(0)
        model = nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 9))
        loss = method.backward(model, ar.LanguageModelling(shift=False), [(tokens, labels)], step=1)
        assert math.isfinite(loss)
        assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
        nothing = [(tokens[:4], labels[:4])]
        model.zero_grad()
        assert float(ar.SGD().backward(model, ar.LanguageModelling(shift=False), nothing, step=1)) == 0.0
        assert all(not parameter.grad.any() for parameter in model.parameters())

    def test_the_mean_over_tokens_is_torchs(self):
        scores = torch.randn(4, 7, 9, generator=GENERATOR)
        labels = torch.randint(0, 9, (4, 7), generator=GENERATOR)
        labels[:, 3:] = -100
        found = ar.LanguageModelling(shift=False).loss(scores, labels, 0.1)
        expected = F.cross_entropy(scores.flatten(0, 1), labels.flatten(), label_smoothing=0.1)
        assert float(found) == pytest.approx(float(expected), rel=1e-6)


class TestOrder:
    class Random(Dataset):
        def __len__(self):
            return 12

        def __getitem__(self, index):
            return X[index] + torch.randn(6), Y[index]

    def test_a_score_of_the_model_needs_the_same_data_on_every_chip(self):
        def score(model, batches):
            return {"x": sum(float(model(x).sum()) for x, _ in batches)}

        with pytest.raises(ar.AimcError, match="same"):
            ar.evaluate(
                linear(),
                DataLoader(self.Random(), batch_size=4),
                ar.Gaussian(0.0),
                chips=3,
                task=ar.ModelScore(score=score, metric="x"),
            )

    def test_every_label_is_compared(self):
        class Noisy:
            def __iter__(self):
                yield X, torch.cat([Y[:1], Y[1:] + torch.randn(39, 1)])

        with pytest.raises(ar.AimcError, match="same"):
            ar.evaluate(linear(), Noisy(), ar.Gaussian(0.0), chips=3, task="regression")


@dataclass(frozen=True, kw_only=True)
class Own(ar.Task):
    """A task of the user's own, with faults to choose from."""

    name: str = "gap"
    found: object = 1.0

    @property
    def primary(self):
        return ar.PrimaryMetric(self.name, "", "lower")

    def align(self, outputs, labels):
        return outputs, labels

    def loss(self, outputs, labels, label_smoothing=0.0):
        return F.l1_loss(outputs, labels)

    def accumulators(self):
        task = self

        class Found:
            def update(self, outputs, labels):
                pass

            def compute(self):
                return task.found

        return {"gap": Found()}


@pytest.mark.parametrize(
    ("task", "says"),
    [
        (Own(name="other"), r"'other' of Own among .* got gap"),
        (Own(found="text"), "the metric 'gap' raised"),
        (Own(found=torch.ones(3)), "the metric 'gap' raised"),
        (Own(found=math.nan), "not defined"),
        (Own(name="distance"), "'distance'|'gap'"),
    ],
)
def test_a_faulty_task_is_told_in_a_sentence(task, says):
    with pytest.raises(ar.AimcError, match=says):
        ar.evaluate(linear(), [(X, Y)], None, task=task)


@pytest.mark.parametrize("bounds", [(1,), None, ("a", "b"), (2.0, 1.0), 3])
def test_bounds_are_two_numbers(bounds):
    with pytest.raises(ar.AimcError, match="bounds"):
        ar.PrimaryMetric("x", bounds=bounds)


@pytest.mark.parametrize("outputs", [torch.zeros(40, 3, dtype=torch.complex64), torch.zeros(40, 3, dtype=torch.long)])
def test_outputs_that_are_no_floating_point_numbers_are_refused(outputs):
    class Returns(nn.Module):
        def forward(self, x):
            return outputs

    with pytest.raises(ar.AimcError, match="floating-point"):
        ar.evaluate(Returns(), [(X, torch.zeros(40, dtype=torch.long))], None)


def test_digital_weights_are_paired_with_every_chip():
    device, digital = (ar.evaluate(linear(), [(X, Y)], c, chips=5, task="regression") for c in (DEVICE, None))
    for found, sign in ((ar.paired_difference(device, digital), 1), (ar.paired_difference(digital, device), -1)):
        assert found.pairs == 5
        assert found.mean == pytest.approx(sign * (device.mean - digital.mean))
        assert math.isfinite(found.ci[0])


def test_labels_of_large_maps_are_checked_in_small_parts():
    sizes = []

    class Watched(ar.Segmentation):
        def align(self, outputs, labels):
            sizes.append(len(labels))
            if len(labels) == 20:
                raise ZeroDivisionError  # the first batch: all labels have been checked
            return super().align(outputs, labels)

    images, labels = torch.randn(20, 3, 8, 8), torch.randint(0, 4, (20, 512, 512))
    config = ar.TrainingConfig(epochs=1, batch_size=20)
    with pytest.raises(ZeroDivisionError):
        ar.train(
            nn.Conv2d(3, 4, 1),
            ar.SGD(),
            config,
            training_set=(images, labels),
            validation_set=(images, labels),
            task=Watched(),
            probe=None,
        )
    checks = sizes[:-1]
    assert sum(checks) == 2 * 21
    assert max(checks) * 4 * 512 * 512 <= 2**24


def test_a_multilabel_model_that_ends_in_a_sigmoid_is_warned_of():
    labels = torch.randint(0, 2, (40, 4), generator=GENERATOR)
    with pytest.warns(UserWarning, match="sigmoid"):
        ar.evaluate(nn.Sequential(linear(4), nn.Sigmoid()), [(X, labels)], None, task="multilabel")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ar.evaluate(linear(4), [(X, labels)], None, task="multilabel")
