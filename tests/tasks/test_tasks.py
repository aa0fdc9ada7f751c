"""Each task against an independent oracle, on batches of every kind, under a device and in training."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, f1_score, r2_score
from support.lazy import LazyModule
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import aimc_robust as ar
from aimc_robust.tasks.registry import as_task

transformers, torchmetrics = LazyModule("transformers"), LazyModule("torchmetrics.classification")
N = 40
GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(N, 6, generator=GENERATOR)
IDEAL = ar.Crossbar("ideal")
DEVICE = ar.Crossbar("rram-wan2022", read_noise=False)


def network(outputs: int) -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, outputs)).eval()


def value(model, batches, task, condition=None, **options):
    """Mean of the primary metric under a condition."""
    return ar.evaluate(model, batches, condition, chips=2, task=task, **options).mean


class TestRegression:
    LABELS = torch.randn(N, 2, generator=GENERATOR) + 1000.0

    @pytest.mark.parametrize("size", [1, 7, N])
    def test_metrics_are_those_of_numpy_at_any_batch_size(self, size):
        model = network(2)
        batches = list(zip(X.split(size), self.LABELS.split(size), strict=True))
        table = ar.evaluate(model, batches, None, task="regression").table.iloc[0]
        with torch.no_grad():
            outputs, labels = model(X).double().numpy(), self.LABELS.double().numpy()
        assert table["rmse"] == pytest.approx(np.sqrt(np.mean((outputs - labels) ** 2)), rel=1e-6)
        assert table["mae"] == pytest.approx(np.mean(np.abs(outputs - labels)), rel=1e-6)
        assert table["r2"] == pytest.approx(r2_score(labels, outputs), rel=1e-5)
        assert table["loss"] == pytest.approx(np.mean((outputs - labels) ** 2), rel=1e-6)
        assert table["n"] == N

    def test_a_column_of_outputs_matches_flat_labels_and_is_not_spread_over_them(self):
        model, flat = network(1), self.LABELS[:, 0]
        with torch.no_grad():
            expected = float((model(X)[:, 0] - flat).square().mean().sqrt())
        assert value(model, (X, flat), "regression") == pytest.approx(expected, rel=1e-6)
        assert value(model, (X, flat[:, None]), "regression") == pytest.approx(expected, rel=1e-6)
        assert value(nn.Sequential(model, nn.Flatten(0)), (X, flat[:, None]), "regression") == pytest.approx(expected)

    @pytest.mark.parametrize(("metric", "better"), [("rmse", "lower"), ("mae", "lower"), ("r2", "higher")])
    def test_the_primary_metric_is_a_choice(self, metric, better):
        estimate = ar.evaluate(network(2), (X, self.LABELS), DEVICE, chips=3, task=ar.Regression(metric=metric))
        assert (estimate.metric.name, estimate.metric.better) == (metric, better)
        assert estimate.mean == estimate.table[metric].mean()
        worst = estimate.table[metric].max() if better == "lower" else estimate.table[metric].min()
        assert estimate.worst.value == worst
        assert estimate.for_column("r2").worst.value == estimate.table["r2"].min()
        assert estimate.for_column("mae").worst.value == estimate.table["mae"].max()
        assert estimate.for_column("loss").worst.value == estimate.table["loss"].max()

    @pytest.mark.parametrize("labels", [torch.zeros(N, 3), torch.zeros(N), torch.full((N, 2), math.nan)])
    def test_labels_that_do_not_fit_are_refused(self, labels):
        with pytest.raises(ar.AimcError, match="expected"):
            value(network(2), [(X, labels)], "regression")


class TestMultilabel:
    LABELS = (torch.rand(N, 4, generator=GENERATOR) < 0.4).long()

    @pytest.mark.parametrize("size", [1, 9, N])
    def test_metrics_are_those_of_scikit_learn_and_torchmetrics(self, size):
        model = network(4)
        batches = list(zip(X.split(size), self.LABELS.split(size), strict=True))
        row = ar.evaluate(model, batches, None, task="multilabel").table.iloc[0]
        with torch.no_grad():
            scores = model(X)
        decided = (scores > 0).numpy()
        assert row["f1_macro"] == pytest.approx(100 * f1_score(self.LABELS, decided, average="macro"))
        assert row["f1_micro"] == pytest.approx(100 * f1_score(self.LABELS, decided, average="micro"))
        oracle = torchmetrics.MultilabelAveragePrecision(num_labels=4)(scores.sigmoid(), self.LABELS)
        assert row["mean_average_precision"] == pytest.approx(100 * float(oracle), rel=1e-6)
        assert row["mean_average_precision"] == pytest.approx(100 * average_precision_score(self.LABELS, scores))
        assert row["loss"] == pytest.approx(
            float(F.binary_cross_entropy_with_logits(scores, self.LABELS.float())), rel=1e-6
        )

    def test_a_single_score_for_yes_or_no(self):
        model, labels = network(1), self.LABELS[:, 0]
        with torch.no_grad():
            decided = (model(X)[:, 0] > 0).numpy()
        expected = 100 * f1_score(labels, decided)
        assert value(model, (X, labels), "multilabel") == pytest.approx(expected)
        assert value(model, (X, labels[:, None].bool()), "multilabel") == pytest.approx(expected)
        with pytest.raises(ar.AimcError, match="task multilabel"):
            value(model, [(X, labels)], None)

    def test_a_label_without_an_example_counts_in_f1_if_it_is_predicted(self):
        labels = self.LABELS.clone()
        labels[:, 1] = 0
        model = network(4)
        row = ar.evaluate(model, [(X, labels)], None, task="multilabel").table.iloc[0]
        with torch.no_grad():
            scores = model(X)
        assert (scores[:, 1] > 0).any()
        assert row["f1_macro"] == pytest.approx(100 * f1_score(labels, (scores > 0).numpy(), average="macro"))
        kept = [0, 2, 3]
        expected = average_precision_score(labels[:, kept], scores[:, kept])
        assert row["mean_average_precision"] == pytest.approx(100 * expected)

    def test_a_label_that_is_neither_there_nor_predicted_does_not_count(self):
        model = nn.Linear(6, 3)
        nn.init.constant_(model.bias, -100.0)
        with torch.no_grad():
            model.weight[0] += 100.0
        labels = torch.zeros(N, 3, dtype=torch.long)
        labels[:, 0] = X.sum(1) > 0
        row = ar.evaluate(model, [(X, labels)], None, task="multilabel").table.iloc[0]
        decided = (model(X) > 0).numpy()
        assert row["f1_macro"] == pytest.approx(100 * f1_score(labels[:, 0], decided[:, 0]))
        with pytest.raises(ar.AimcError, match="not defined for these labels"):
            value(model, [(X, labels * 0)], ar.Multilabel(metric="mean_average_precision"))

    def test_other_numbers_than_0_and_1_are_refused(self):
        with pytest.raises(ar.AimcError, match="0 or 1"):
            value(network(4), [(X, self.LABELS * 2)], "multilabel")


class TestSegmentation:
    IMAGES = torch.randn(6, 3, 8, 8, generator=GENERATOR)
    LABELS = torch.randint(0, 4, (6, 8, 8), generator=GENERATOR)

    def model(self):
        torch.manual_seed(2)
        return nn.Conv2d(3, 5, 3, padding=1).eval()

    @pytest.mark.parametrize("size", [1, 4, 6])
    def test_miou_is_that_of_torchmetrics_at_any_batch_size(self, size):
        labels = self.LABELS.clone()
        labels[:, :2] = 255
        batches = list(zip(self.IMAGES.split(size), labels.split(size), strict=True))
        row = ar.evaluate(self.model(), batches, None, task="segmentation").table.iloc[0]
        with torch.no_grad():
            scores = self.model()(self.IMAGES)
        oracle = torchmetrics.MulticlassJaccardIndex(num_classes=5, ignore_index=255)(scores.argmax(1), labels)
        assert row["miou"] == pytest.approx(100 * float(oracle), rel=1e-5)
        assert row["loss"] == pytest.approx(float(F.cross_entropy(scores, labels, ignore_index=255)), rel=1e-6)
        assert row["n"] == 6 * 8 * 6
        right = (scores.argmax(1) == labels)[:, 2:]
        assert row["pixel_accuracy"] == pytest.approx(100 * float(right.double().mean()))

    def test_scores_of_a_smaller_map_are_scaled_to_the_labels(self):
        model = nn.Sequential(self.model(), nn.AvgPool2d(2))
        with torch.no_grad():
            scores = F.interpolate(model(self.IMAGES), size=(8, 8), mode="bilinear", align_corners=False)
        expected = torchmetrics.MulticlassJaccardIndex(num_classes=5)(scores.argmax(1), self.LABELS)
        assert value(model, [(self.IMAGES, self.LABELS)], "segmentation") == pytest.approx(100 * float(expected))

    def test_torchvisions_output_is_a_mapping(self):
        class Named(nn.Module):
            def __init__(self, inner):
                super().__init__()
                self.inner = inner

            def forward(self, x):
                return {"out": self.inner(x), "aux": x}

        assert value(Named(self.model()), [(self.IMAGES, self.LABELS)], "segmentation", IDEAL) == pytest.approx(
            value(self.model(), [(self.IMAGES, self.LABELS)], "segmentation")
        )

    def test_a_class_that_the_model_lacks_is_refused(self):
        with pytest.raises(ar.AimcError, match="0 to 4"):
            value(self.model(), [(self.IMAGES, self.LABELS + 3)], "segmentation")


class TestLanguageModelling:
    TOKENS = torch.randint(0, 30, (12, 9), generator=GENERATOR)
    MASK = torch.ones(12, 9, dtype=torch.long).tril(diagonal=3).clamp(min=0)

    @pytest.fixture(scope="class")
    def gpt2(self):
        torch.manual_seed(0)
        size = {"n_positions": 16, "n_embd": 16, "n_layer": 1, "n_head": 2}
        return transformers.GPT2LMHeadModel(
            transformers.GPT2Config(vocab_size=30, bos_token_id=0, eos_token_id=0, **size)
        ).eval()

    def test_perplexity_is_that_of_transformers(self, gpt2):
        with torch.no_grad():
            expected = float(gpt2(input_ids=self.TOKENS, labels=self.TOKENS).loss.exp())
        estimate = ar.evaluate(gpt2, [self.TOKENS[:5], self.TOKENS[5:]], None, task="language-modelling")
        assert estimate.mean == pytest.approx(expected, rel=1e-6)
        assert estimate.table["n"].iloc[0] == 12 * 8

    @pytest.mark.parametrize("kind", ["mapping", "BatchEncoding", "all data", "labels", "pairs", "loader"])
    def test_batches_of_every_kind_give_the_same(self, gpt2, kind):
        ids = self.TOKENS
        data = {
            "mapping": [{"input_ids": ids}],
            "BatchEncoding": [transformers.BatchEncoding({"input_ids": ids, "attention_mask": torch.ones_like(ids)})],
            "all data": {"input_ids": ids},
            "labels": [{"input_ids": ids[:4], "labels": ids[:4]}, {"input_ids": ids[4:], "labels": ids[4:]}],
            "pairs": [(ids, ids)],
            "loader": DataLoader(TensorDataset(ids), batch_size=5),
        }[kind]
        task = ar.LanguageModelling()
        assert value(gpt2, data, task, IDEAL) == pytest.approx(value(gpt2, [ids], task), rel=1e-5)

    def test_padding_is_not_scored(self, gpt2):
        batch = {"input_ids": self.TOKENS, "attention_mask": self.MASK}
        labels = self.TOKENS.masked_fill(self.MASK == 0, -100)
        with torch.no_grad():
            expected = gpt2(**batch, labels=labels).loss.exp()
        found = ar.evaluate(gpt2, [batch], None, task="language-modelling")
        assert found.mean == pytest.approx(float(expected), rel=1e-6)
        assert found.table["n"].iloc[0] == int((labels[:, 1:] != -100).sum())

    def test_a_masked_language_model_has_labels_at_their_own_places(self):
        torch.manual_seed(0)
        size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
        bert = transformers.BertForMaskedLM(transformers.BertConfig(vocab_size=30, **size)).eval()
        labels = self.TOKENS.masked_fill(torch.rand(12, 9, generator=GENERATOR) < 0.7, -100)
        batch = {"input_ids": self.TOKENS.masked_fill(labels != -100, 1), "labels": labels}
        with torch.no_grad():
            expected = float(bert(**batch).loss.exp())
        assert value(bert, [batch], ar.LanguageModelling(shift=False)) == pytest.approx(expected, rel=1e-5)
        assert value(bert, [batch], ar.LanguageModelling(shift=False), IDEAL) == pytest.approx(expected, rel=1e-4)

    def test_a_device_raises_the_perplexity_and_attribution_has_its_sign(self, gpt2):
        torch.manual_seed(0)
        model, tokens = transformers.GPT2LMHeadModel(gpt2.config), self.TOKENS
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        for _ in range(60):
            optimizer.zero_grad()
            model(input_ids=tokens, labels=tokens).loss.backward()
            optimizer.step()
        model.eval()
        options = {"task": "language-modelling", "chips": 4}
        found = ar.attribute(model, [tokens], DEVICE, per_layer=False, **options)
        assert found.crossbar > found.ideal
        assert (found.table["cost_alone"] > 0).any()
        assert found.metric.name == "perplexity"
        equivalent = ar.equivalent_sigma(model, [tokens], DEVICE.replace(error_scale=3.0), **options)
        assert equivalent.identified
        assert equivalent.curve["fitted"].is_monotonic_increasing
        assert equivalent.low < equivalent.sigma < equivalent.high


class TestTokenClassification:
    def test_labels_of_minus_100_are_not_scored(self):
        model, inputs = network(5), torch.randn(4, 7, 6, generator=GENERATOR)
        labels = torch.randint(0, 5, (4, 7), generator=GENERATOR)
        labels[:, ::2] = -100
        row = ar.evaluate(model, [(inputs, labels)], None).table.iloc[0]
        with torch.no_grad():
            scores = model(inputs)
        scored = labels != -100
        assert row["accuracy"] == pytest.approx(100 * float((scores.argmax(-1) == labels)[scored].double().mean()))
        assert row["n"] == int(scored.sum())
        assert row["loss"] == pytest.approx(float(F.cross_entropy(scores[scored], labels[scored])), rel=1e-6)

    def test_nothing_to_score_is_refused(self):
        with pytest.raises(ar.AimcError, match="at least one"):
            value(network(5), [(X, torch.full((N,), -100))], None)


class Two(nn.Module):
    """A model with two arguments."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.a, self.b = nn.Linear(6, 4), nn.Linear(6, 4)

    def forward(self, a, b):
        return self.a(a) - self.b(b)


Y = torch.randint(0, 4, (N,), generator=GENERATOR)
Z = torch.randn(N, 6, generator=GENERATOR)
SEVERAL = {
    "three": [(X, Z, Y)],
    "pair of a tuple": [((X, Z), Y)],
    "pair of a mapping": [({"a": X, "b": Z}, Y)],
    "mapping": [{"a": X, "b": Z, "labels": Y}],
    "mapping of arrays": [{"a": X.numpy(), "b": Z.numpy(), "label": Y.numpy()}],
    "all data": ((X, Z), Y),
    "all data as a mapping": {"a": X, "b": Z, "target": Y},
    "loader": DataLoader(TensorDataset(X, Z, Y), batch_size=16),
    "float64": [((X.double(), Z.double()), Y)],
}


@pytest.mark.parametrize("kind", SEVERAL)
class TestSeveralInputs:
    """Of every function that takes batches, against the model called by hand."""

    def test_evaluate(self, kind):
        with torch.no_grad():
            expected = 100 * float((Two()(X, Z).argmax(1) == Y).double().mean())
        assert value(Two(), SEVERAL[kind], None) == pytest.approx(expected)
        assert value(Two(), SEVERAL[kind], None, IDEAL) == pytest.approx(expected)

    def test_calibrate_and_compensation(self, kind):
        crossbar = ar.Crossbar("ideal", dac=ar.DAC(bits=8), adc=ar.ADC(bits=8))
        ranges = ar.calibrate(Two(), crossbar, SEVERAL[kind], percentile=1.0)
        assert ranges["b"].inputs == pytest.approx((float(Z.min()), float(Z.max())))
        deployment = ar.Deployment(ranges=ranges, data=SEVERAL[kind])
        assert value(Two(), SEVERAL[kind], None, crossbar, deployment=deployment) > 0

    def test_predict_loss(self, kind):
        with torch.no_grad():
            expected = float(F.cross_entropy(Two()(X, Z), Y))
        found = ar.predict_loss(Two(), SEVERAL[kind], {"noise": ar.Gaussian(0.05)}).table
        assert found["clean_loss"].iloc[0] == pytest.approx(expected, rel=1e-6)
        assert found["curvature"].iloc[0] > 0

    def test_training_methods(self, kind):
        if kind in ("loader", "all data", "all data as a mapping", "mapping of arrays"):
            pytest.skip("a method takes batches of tensors")
        model, reference = Two(), Two()
        (batch,) = SEVERAL[kind]
        loss = ar.RWP(sigma=0.1).backward(model, F.cross_entropy, [batch], step=1)
        assert loss.isfinite()
        ar.SGD().backward(reference, F.cross_entropy, [batch], step=1)
        twin = Two()
        F.cross_entropy(twin(X, Z), Y).backward()
        torch.testing.assert_close(reference.a.weight.grad, twin.a.weight.grad)


class TestModelScore:
    def test_a_function_of_model_and_batches_is_the_metric(self):
        def score(model, batches):
            worst = max(float((model(x) - y).abs().max()) for x, y in batches)
            return {"worst_error": worst, "answer": 42}

        task = ar.ModelScore(score=score, metric="worst_error", better="lower", unit="V")
        batches = [(X, Z[:, :2])]
        estimate = ar.evaluate(network(2), batches, DEVICE, chips=3, task=task)
        expected = [score(ar.program(network(2), DEVICE, chip=chip), batches)["worst_error"] for chip in range(3)]
        assert estimate.table["worst_error"].tolist() == pytest.approx(expected)
        assert estimate.worst.value == max(expected)
        assert (estimate.table["answer"] == 42).all()
        assert (estimate.table["n"] == N).all()

    def test_batches_reach_it_as_they_are(self):
        seen = []

        def score(model, batches):
            seen.extend(batches)
            return {"x": 1.0}

        texts = [["some", "texts"], ["more"]]
        ar.evaluate(network(2), texts, ar.Gaussian(0.1), chips=1, task=ar.ModelScore(score=score, metric="x"))
        assert seen == texts

    @pytest.mark.parametrize(
        ("returned", "says"),
        [({"y": 1.0}, "'x'"), (1.0, "float"), ({"x": "a"}, "score 'x'"), ({"x": math.nan}, "nan")],
    )
    def test_what_is_no_score_is_refused(self, returned, says):
        task = ar.ModelScore(score=lambda model, batches: returned, metric="x")
        with pytest.raises(ar.AimcError, match=says):
            value(network(2), [(X, Y)], task)

    def test_there_is_no_loss_to_predict_or_to_train_with(self):
        task = ar.ModelScore(score=lambda model, batches: {"x": 1.0}, metric="x")
        with pytest.raises(ar.AimcError, match="no loss"):
            ar.predict_loss(network(2), [(X, Y)], {"noise": ar.Gaussian(0.1)}, task=task)
        with pytest.raises(ar.AimcError, match="no loss"):
            ar.SGD().backward(network(2), task, [(X, Y)], step=1)


class TestTraining:
    CONFIG = ar.TrainingConfig(
        epochs=6, batch_size=8, lr=0.02, label_smoothing=0.0, early_stopping=ar.EarlyStopping(sigma=(0.0, 0.2))
    )

    @pytest.mark.parametrize("method", [ar.SGD(), ar.RWP(sigma=0.05), ar.SAM(rho=0.02, m=4), ar.MixedRWP(sigma=0.05)])
    def test_a_regression_is_learnt_and_the_best_epoch_is_the_lowest(self, method):
        labels = (X @ torch.ones(6, 1)).sin()
        data = {"training_set": (X, labels), "validation_set": (X, labels), "task": "regression"}
        result = ar.train(network(1), method, self.CONFIG, **data)
        rmse = [row["rmse"] for row in result.history]
        assert rmse[-1] < 0.9 * rmse[0]
        assert rmse[result.epoch - 1] == min(rmse)
        assert result.history[0]["perturbed_rmse_0.2"] > 0

    def test_a_language_model_and_named_inputs(self):
        torch.manual_seed(0)
        config = transformers.GPT2Config(
            vocab_size=12, n_positions=8, n_embd=16, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=0
        )
        tokens = torch.arange(8).remainder(12).repeat(24, 1)
        data = {"training_set": {"input_ids": tokens}, "validation_set": {"input_ids": tokens[:4]}}
        settings = {"optimizer": "adamw", "lr": 0.01, "label_smoothing": 0.0}
        result = ar.train(
            transformers.GPT2LMHeadModel(config),
            ar.RWP(sigma=0.02),
            ar.TrainingConfig(epochs=3, batch_size=4, **settings),
            task="language-modelling",
            **data,
        )
        assert result.history[-1]["perplexity"] < 0.7 * result.history[0]["perplexity"]

    def test_label_smoothing_is_refused_where_labels_are_no_classes(self):
        config = ar.TrainingConfig(epochs=1, batch_size=8)
        with pytest.raises(ar.AimcError, match="label_smoothing"):
            ar.train(
                network(1),
                ar.SGD(),
                config,
                training_set=(X, Z[:, :1]),
                validation_set=(X, Z[:, :1]),
                task="regression",
            )

    def test_a_task_is_a_loss_function_with_the_gradient_of_its_loss(self):
        model, twin, labels = network(2), network(2), Z[:, :2]
        ar.SGD().backward(model, ar.Regression(), [(X, labels)], step=1)
        F.mse_loss(twin(X), labels).backward()
        for parameter, expected in zip(model.parameters(), twin.parameters(), strict=True):
            assert torch.equal(parameter.grad, expected.grad)


@pytest.mark.parametrize("task", ["regresion", "os:system", 3, ar.Regression])
def test_what_is_no_task_is_refused(task):
    with pytest.raises(ar.AimcError, match="task"):
        as_task(task)


def test_a_torchmetrics_metric_is_a_further_column():
    metric = torchmetrics.MulticlassJaccardIndex(num_classes=4)
    model, batches = network(4), [(X[:20], Y[:20]), (X[20:], Y[20:])]
    found = ar.evaluate(model, batches, DEVICE, chips=3, metrics={"jaccard": metric}).table["jaccard"]
    expected = []
    for chip in range(3):
        outputs = ar.program(model, DEVICE, chip=chip)(X)
        expected.append(float(torchmetrics.MulticlassJaccardIndex(num_classes=4)(outputs, Y)))
    assert found.tolist() == pytest.approx(expected)
