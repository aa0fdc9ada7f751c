"""Early stopping keeps the epoch that is best under noise; without it the last epoch is kept."""

from dataclasses import dataclass

import pytest
from support.measure import measure
from support.training_examples import conv_net, differing, digits, state_of

from aimc_robust.errors import InputError
from aimc_robust.noise.distributions import Gaussian
from aimc_robust.noise.perturbation import perturbed
from aimc_robust.seeding import Axes
from aimc_robust.training.config import EarlyStopping, TrainingConfig
from aimc_robust.training.loop import train
from aimc_robust.training.methods.sgd import SGD
from aimc_robust.training.resumption import load_selection

IMAGES, LABELS = digits()
VALIDATION = (IMAGES[400:700], LABELS[400:700])
DATA = {"training_set": (IMAGES[:400], LABELS[:400]), "validation_set": VALIDATION}


@dataclass(frozen=True, kw_only=True)
class TurnsBad(SGD):
    """Descends for `good` updates and climbs from then on, so that a middle epoch is surely the best."""

    good: int

    def backward(self, model, loss_fn, batches, *, step):
        sign = 1.0 if step <= self.good else -1.0
        return super().backward(model, lambda output, target: sign * loss_fn(output, target), batches, step=step)


def trained(stopping, **more):
    """The result, and the weights as they were after each epoch."""
    model, after = conv_net(), []
    config = TrainingConfig(epochs=5, batch_size=40, early_stopping=stopping)
    result = train(model, TurnsBad(good=30), config, **DATA, on_epoch=lambda row: after.append(state_of(model)), **more)
    return result, after


@pytest.mark.parametrize("sigma", [0.0, 0.1])
def test_the_weights_of_the_best_epoch_under_noise_are_returned(sigma):
    result, after = trained(EarlyStopping(sigma=sigma))
    scores = [row["perturbed_accuracy"] for row in result.history]
    assert len(scores) == 5  # the selection is the stopping: every epoch is run
    assert result.epoch == 1 + scores.index(max(scores))
    assert 1 < result.epoch < 5
    assert differing(state_of(result.model), after[result.epoch - 1]) == []
    assert "0.weight" in differing(after[-1], after[result.epoch - 1])


def test_the_score_is_the_mean_accuracy_over_the_draws():
    result, _ = trained(EarlyStopping(sigma=0.2, scale="layer_max", draws=3), train_seed=4)
    row = result.history[result.epoch - 1]
    scores = []
    for draw in range(3):
        axes = Axes(4).at(use="validation", chip=draw)
        with perturbed(result.model, Gaussian(0.2, "layer_max"), generator=axes) as noisy:
            scores.append(measure(noisy, [VALIDATION]).value)
    assert row["perturbed_accuracy"] == pytest.approx(sum(scores) / 3)
    assert row["accuracy"] == measure(result.model, [VALIDATION]).value
    assert len(set(scores)) > 1


def test_without_noise_the_score_is_the_clean_accuracy():
    result, _ = trained(EarlyStopping(sigma=0.0))
    assert all(row["perturbed_accuracy"] == pytest.approx(row["accuracy"]) for row in result.history)


def test_without_early_stopping_the_last_epoch_is_kept():
    result, after = trained(None)
    assert result.epoch == 5
    assert differing(state_of(result.model), after[-1]) == []


def test_selecting_does_not_change_the_training():
    _, with_noise = trained(EarlyStopping(sigma=0.3))
    _, without = trained(None)
    assert all(differing(*pair) == [] for pair in zip(with_noise, without, strict=True))


def test_the_first_of_equally_good_epochs_is_kept():
    # A learning rate of 0 leaves every epoch as good as the first.
    config = TrainingConfig(epochs=3, lr=0.0, early_stopping=EarlyStopping(sigma=0.0))
    model = conv_net()
    model[1].eval()
    model[1].train = lambda mode: None  # nor may BatchNorm's statistics move
    assert train(model, SGD(), config, **DATA).epoch == 1


def test_several_sigmas_keep_an_epoch_each(tmp_path):
    stopping = EarlyStopping(sigma=[0.3, 0.0], draws=2)
    result, after = trained(stopping, folder=tmp_path)
    kept = {}
    for number, sigma in enumerate(stopping.sigmas):
        scores = [row[f"perturbed_accuracy_{sigma:g}"] for row in result.history]
        kept[sigma] = 1 + scores.index(max(scores))
        model = conv_net()
        assert load_selection(tmp_path, model, stopping.sigmas, number) == kept[sigma]
        assert differing(state_of(model), after[kept[sigma] - 1]) == []
        alone, _ = trained(EarlyStopping(sigma=sigma, draws=2))
        assert alone.epoch == kept[sigma]  # the others have no part in it
    assert result.epoch == kept[0.3]
    assert result.history[0]["perturbed_accuracy"] == result.history[0]["perturbed_accuracy_0.3"]
    assert [row["perturbed_accuracy_0"] for row in result.history] == [row["accuracy"] for row in result.history]


def test_strengths_that_print_alike_keep_files_and_columns_of_their_own(tmp_path):
    alike = 0.1000001
    stopping = EarlyStopping(sigma=[0.3, 0.1, alike], draws=1)
    result, _ = trained(stopping, folder=tmp_path)
    names = {"checkpoint.safetensors", "checkpoint-0.1.safetensors", "checkpoint-0.1000001.safetensors"}
    assert {path.name for path in tmp_path.glob("*.safetensors")} == names
    assert {f"perturbed_accuracy_{text}" for text in ("0.3", "0.1", "0.1000001")} <= result.history[0].keys()


def test_an_interrupted_training_keeps_the_same_epochs(tmp_path):
    class StopError(Exception):
        pass

    def stop(row):
        if row["epoch"] == 4:
            raise StopError

    stopping = EarlyStopping(sigma=[0.0, 0.3], draws=1)
    config = TrainingConfig(epochs=5, batch_size=40, early_stopping=stopping)
    with pytest.raises(StopError):
        train(conv_net(), TurnsBad(good=30), config, **DATA, folder=tmp_path / "a", on_epoch=stop)
    for folder in ("a", "b"):
        train(conv_net(), TurnsBad(good=30), config, **DATA, folder=tmp_path / folder)
    for name in ("checkpoint.safetensors", "checkpoint-0.3.safetensors"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize("sigmas", [[], [0.1, 0.1], [0.1, -1.0]])
def test_sigmas_that_cannot_be_are_refused(sigmas):
    with pytest.raises(InputError):
        EarlyStopping(sigma=sigmas)
