"""Distillation: the loss against float64 oracles for every task, and what reaches the teacher."""

import pytest
import torch
from support.training_examples import conv_net, differing, digit_batches, digits, gradients_of, state_of
from torch import nn

from aimc_robust.errors import CheckpointError, InputError
from aimc_robust.hardware.config.converters import ADC, DAC
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.models.checkpoint import model_tensors, write_checkpoint
from aimc_robust.seeding import global_seed
from aimc_robust.tasks.classification import Classification
from aimc_robust.tasks.distillation import Distillation
from aimc_robust.tasks.language_modelling import LanguageModelling
from aimc_robust.tasks.model_score import ModelScore
from aimc_robust.tasks.multilabel import Multilabel
from aimc_robust.tasks.regression import Regression
from aimc_robust.tasks.segmentation import Segmentation
from aimc_robust.training.config import TrainingConfig
from aimc_robust.training.loop import train
from aimc_robust.training.methods.array_aware import ArrayAware
from aimc_robust.training.methods.rwp import RWP, MixedRWP
from aimc_robust.training.methods.sam import SAM
from aimc_robust.training.methods.sgd import SGD

IMAGES, LABELS = digits()
DATA = {"training_set": (IMAGES[:200], LABELS[:200]), "validation_set": (IMAGES[200:300], LABELS[200:300])}
METHODS = {
    "sgd": SGD(),
    "sam": SAM(rho=0.1, m=4),
    "rwp": RWP(sigma=0.5),
    "m-rwp": MixedRWP(sigma=0.5),
    "array-aware": ArrayAware(Crossbar("pcm-nandakumar2019", dac=DAC(bits=4), adc=ADC(bits=4)), ranges="learned"),
}


class Fixed(nn.Module):
    """Outputs that do not depend on the inputs."""

    def __init__(self, outputs):
        super().__init__()
        self.outputs = nn.Parameter(outputs)

    def forward(self, x):
        return self.outputs


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def class_oracle(scores, teacher, temperature, kept):
    """T^2 sum_k p_k log(p_k / q_k), item by item; the classes come last."""
    total, items = 0.0, 0
    for q, p, keep in zip(scores.flatten(0, -2), teacher.flatten(0, -2), kept.flatten(), strict=True):
        if keep:
            q, p = (torch.exp(x / temperature) / torch.exp(x / temperature).sum() for x in (q, p))
            total, items = total + float((p * (p / q).log()).sum()), items + 1
    return temperature**2 * total / items


def yes_or_no_oracle(scores, teacher, temperature):
    q, p = (scores / temperature).sigmoid(), (teacher / temperature).sigmoid()
    return temperature**2 * float((p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).mean())


def cases():
    classes = torch.tensor([0, 2, 1, -100])
    tokens = torch.tensor([[0, 1, 2, 3], [3, -100, 1, 0]])
    pixels = torch.tensor([[[0, 1], [255, 2]]])
    every = {"temperature": 3.0}
    yield Classification(), (4, 3), classes, lambda s, t: class_oracle(s, t, 3.0, classes != -100), every
    kept = tokens[:, 1:] != -100
    oracle = lambda s, t: class_oracle(s[:, :-1], t[:, :-1], 3.0, kept)  # noqa: E731
    yield LanguageModelling(), (2, 4, 5), tokens, oracle, every
    oracle = lambda s, t: class_oracle(s.movedim(1, -1), t.movedim(1, -1), 3.0, pixels != 255)  # noqa: E731
    yield Segmentation(), (1, 3, 2, 2), pixels, oracle, every
    yield Multilabel(), (4, 3), (normal(4, 3, seed=5) > 0).long(), lambda s, t: yes_or_no_oracle(s, t, 3.0), every
    yield Regression(), (4, 1), normal(4, seed=5), lambda s, t: float((s - t).square().mean()), {}


@pytest.mark.parametrize(
    ("task", "shape", "labels", "oracle", "options"), list(cases()), ids=lambda x: type(x).__name__
)
def test_the_loss_is_that_of_an_oracle(task, shape, labels, oracle, options):
    scores, teacher = normal(*shape), normal(*shape, seed=1)
    batch = (torch.zeros(len(scores), 1), labels)
    loss = Distillation(Fixed(teacher), weight=0.3, task=task, **options).loss(Fixed(scores), batch).detach()
    hard = float(task.loss(*task.align(scores, labels)))
    assert float(loss) == pytest.approx(0.7 * hard + 0.3 * oracle(scores, teacher), rel=1e-9)
    same = Distillation(Fixed(scores), weight=1.0, task=task, **options).loss(Fixed(scores), batch).detach()
    assert float(same) == pytest.approx(0.0, abs=1e-12)


def test_classes_of_probability_0_have_no_gradient():
    teacher, scores = normal(4, 3), normal(4, 3, seed=1)
    teacher[:, 1] = scores[:, 1] = -torch.inf
    model = Fixed(scores)
    loss = Distillation(Fixed(teacher), weight=1.0).loss(model, (torch.zeros(4, 1), torch.zeros(4).long()))
    loss.backward()
    expected = class_oracle(scores[:, [0, 2]], teacher[:, [0, 2]], 2.0, torch.ones(4))
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-9)
    assert model.outputs.grad.isfinite().all()


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_no_perturbation_and_no_update_reaches_the_teacher(method):
    model = conv_net()
    distillation = Distillation(model, weight=1.0)
    before = state_of(distillation.teacher)
    seen = []
    distillation.teacher.register_forward_hook(lambda module, inputs, output: seen.append(output))
    batches = digit_batches(2)[: method.batches_per_update]
    for step in (1, 2):
        method.backward(model, distillation, batches, step=step)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= 0.1 * parameter.grad
    assert differing(before, state_of(distillation.teacher)) == []
    assert not any(output.requires_grad for output in seen)
    digital = torch.cat([distillation.teacher(x) for x, _ in batches])
    rows = torch.cat(seen)[:, None] == digital[None]
    assert rows.all(dim=-1).any(dim=1).all()  # each is an output of the digital teacher in evaluation mode


def test_weight_0_is_training_without_a_teacher():
    plain, taught = conv_net(), conv_net()
    batch = digit_batches(1)
    SGD().backward(plain, nn.CrossEntropyLoss(), batch, step=1)
    SGD().backward(taught, Distillation(conv_net(seed=1), weight=0.0), batch, step=1)
    for name, gradient in gradients_of(plain).items():
        torch.testing.assert_close(gradients_of(taught)[name], gradient)


def config(**options):
    return TrainingConfig(epochs=3, batch_size=40, lr=0.02, distillation=Distillation(**options))


def test_training_learns_from_the_model_that_it_starts_from():
    """With weight 1 and no perturbation nothing is left to learn."""
    with global_seed(0):
        linear = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    same = train(linear, SGD(), config(weight=1.0), **DATA)
    assert [row["train_loss"] for row in same.history] == pytest.approx([0.0] * 3, abs=1e-6)
    teacher = train(conv_net(), SGD(), TrainingConfig(epochs=5, batch_size=40), **DATA).model
    other = train(conv_net(seed=3), SGD(), config(teacher=teacher, weight=1.0), **DATA)
    assert other.history[0]["train_loss"] > 0.5
    assert other.history[-1]["train_loss"] < 0.85 * other.history[0]["train_loss"]


def test_the_teacher_may_be_a_file(tmp_path):
    teacher = conv_net(seed=2)
    write_checkpoint(tmp_path / "teacher.safetensors", model_tensors(teacher), {})
    from_file = train(conv_net(), SGD(), config(teacher=tmp_path / "teacher.safetensors"), **DATA)
    given = train(conv_net(), SGD(), config(teacher=teacher), **DATA)
    assert differing(state_of(from_file.model), state_of(given.model)) == []
    with pytest.raises(CheckpointError, match=r"none\.safetensors"):
        train(conv_net(), SGD(), config(teacher="none.safetensors"), **DATA)


class StopError(Exception):
    pass


def stop_after_first(row):
    raise StopError


def test_an_interrupted_training_resumes_with_the_same_teacher_only(tmp_path):
    whole = train(conv_net(), RWP(sigma=0.1), config(), **DATA)
    with pytest.raises(StopError):
        train(conv_net(), RWP(sigma=0.1), config(), **DATA, folder=tmp_path, on_epoch=stop_after_first)
    with pytest.raises(CheckpointError, match="recipe"):
        train(conv_net(seed=1), RWP(sigma=0.1), config(), **DATA, folder=tmp_path)
    resumed = train(conv_net(), RWP(sigma=0.1), config(), **DATA, folder=tmp_path)
    assert differing(state_of(resumed.model), state_of(whole.model)) == []


def test_a_task_without_distillation_is_refused_by_name():
    class Ranking(Classification):
        divergence = Classification.__mro__[1].divergence

    batch = (torch.zeros(2, 4), torch.zeros(2).long())
    with pytest.raises(InputError, match="Ranking"):
        Distillation(nn.Linear(4, 2), task=Ranking()).loss(nn.Linear(4, 2), batch)
    score = ModelScore(score=lambda model, batches: 0.0, metric="box")
    with pytest.raises(InputError):
        Distillation(nn.Linear(4, 2), task=score).loss(nn.Linear(4, 2), batch)


@pytest.mark.parametrize(
    ("run", "words"),
    [
        (lambda: Distillation(temperature=0.0), "temperature"),
        (lambda: Distillation(weight=1.5), "weight"),
        (lambda: Distillation(teacher=3), "teacher"),
        (lambda: Distillation().loss(nn.Linear(4, 2), (torch.zeros(2, 4), torch.zeros(2).long())), "no teacher"),
        (lambda: Distillation(nn.Linear(4, 3)).loss(nn.Linear(4, 2), (torch.zeros(2, 4), torch.zeros(2))), "labels"),
        (
            lambda: Distillation(nn.Linear(4, 3)).loss(nn.Linear(4, 2), (torch.zeros(2, 4), torch.zeros(2).long())),
            "same classes",
        ),
        (lambda: TrainingConfig(epochs=1, distillation=Distillation(task="regression")), "task"),
        (lambda: TrainingConfig(epochs=1, distillation=0.5), "distillation"),
    ],
)
def test_mistakes_are_refused(run, words):
    with pytest.raises(Exception, match=words) as error:
        run()
    assert type(error.value).__module__ == "aimc_robust.errors"
