"""Weight noise in the training loops of Hugging Face: a Trainer's step and accelerate, against gradients by hand."""

import copy

import pytest
import torch
from torch import nn

from aimc_robust import Axes, Gaussian, perturbed

transformers = pytest.importorskip("transformers")
accelerate = pytest.importorskip("accelerate")
NOISE, DRAWS = Gaussian(0.2), Axes(0).at(step=0)


def language_model() -> nn.Module:
    """A small GPT-2; its head shares the embedding's weight."""
    torch.manual_seed(0)
    size = {"n_positions": 16, "n_embd": 16, "n_layer": 1, "n_head": 2}
    config = transformers.GPT2Config(vocab_size=11, bos_token_id=0, eos_token_id=0, resid_pdrop=0.0, **size)
    config.embd_pdrop = config.attn_pdrop = 0.0
    return transformers.GPT2LMHeadModel(config)


BATCH = {"input_ids": torch.arange(32).view(2, 16) % 11, "labels": torch.arange(32).view(2, 16) % 11}


def gradients_by_hand(model: nn.Module) -> dict[str, torch.Tensor]:
    """Gradients of a copy whose weights were replaced by the perturbed ones; the embedding stays clean."""
    twin = copy.deepcopy(model)
    with perturbed(model, NOISE, generator=DRAWS):
        values = {name: module.weight.detach().clone() for name, module in model.named_modules() if is_layer(module)}
    twin.lm_head.weight = nn.Parameter(torch.empty(11, 16))
    for name, value in values.items():
        twin.get_submodule(name).weight.data = value
    twin(**BATCH).loss.backward()
    gradients = {name: parameter.grad for name, parameter in twin.named_parameters()}
    gradients["transformer.wte.weight"] = gradients["transformer.wte.weight"] + gradients.pop("lm_head.weight")
    return gradients


def is_layer(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear | transformers.pytorch_utils.Conv1D)


def assert_gradients(model: nn.Module, expected: dict[str, torch.Tensor]) -> None:
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-4, atol=1e-6, msg=name)


class RWPTrainer(transformers.Trainer):
    """As in docs/how-to/transformers.md."""

    def training_step(self, model, inputs, num_items_in_batch=None):
        model.train()
        inputs = self._prepare_inputs(inputs)
        with perturbed(model, NOISE, generator=Axes(0).at(step=self.state.global_step)):
            loss = self.compute_loss(model, inputs)
            self.accelerator.backward(loss)
        return loss.detach()


def test_a_trainers_step_has_the_gradient_at_perturbed_weights(tmp_path):
    model = language_model().train()
    expected, before = gradients_by_hand(model), copy.deepcopy(model.state_dict())
    arguments = transformers.TrainingArguments(str(tmp_path), report_to=[], use_cpu=True)
    trainer = RWPTrainer(model=model, args=arguments)
    trainer.training_step(model, BATCH)
    assert_gradients(model, expected)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.lm_head.weight is model.transformer.wte.weight


def test_a_loop_with_accelerate_has_it_too():
    accelerator = accelerate.Accelerator(cpu=True)
    model = language_model().train()
    expected = gradients_by_hand(model)
    model, optimizer = accelerator.prepare(model, torch.optim.SGD(model.parameters(), lr=0.1))
    clean = copy.deepcopy(model)
    clean(**BATCH).loss.backward()
    with perturbed(model, NOISE, generator=DRAWS):
        accelerator.backward(model(**BATCH).loss)
    assert_gradients(model, expected)
    plain = dict(clean.named_parameters())
    assert any(not torch.allclose(p.grad, plain[name].grad, rtol=1e-2) for name, p in model.named_parameters())
    optimizer.step()
