"""Scales that extend another scale of the same spec."""

import pytest

from aimc_robust.errors import InputError, UnknownNameError
from aimc_robust.experiments.spec.inheritance import resolved_toml
from aimc_robust.experiments.spec.loading import load_spec

BASE = """
name = "base"
train_seeds = [0]
targets = ["digital", "gaussian-0.02"]
data = { name = "digits", classes = 5 }
training = { epochs = 100, early_stopping = { sigma = [0.0] } }
[model]
name = "small-cnn"
options = { channels = 4 }
[methods.sgd]
[scale.ten]
multiply = { rho = 0.5, sigma = 2.0 }
remove = ["training.early_stopping"]
chips = 7
training = { epochs = 9 }
[scale.twenty]
extends = "ten"
remove = ["data.classes"]
multiply = { sigma = 3.0 }
training = { lr = 0.3 }
[scale.forty]
extends = "twenty"
training = { epochs = 8 }
"""
CHILD = """
extends = "base.toml"
name = "child"
[scale.ten]
chips = 11
remove = ["training.early_stopping", "targets"]
targets = ["digital", "gaussian-0.03"]
"""


@pytest.fixture
def child(tmp_path):
    (tmp_path / "base.toml").write_text(BASE, encoding="utf-8")
    (tmp_path / "child.toml").write_text(CHILD, encoding="utf-8")
    return tmp_path / "child.toml"


def summary(spec):
    sigma = spec.build_targets()[1].condition.sigma
    training = spec.config()
    return (spec.scale, spec.chips, spec.data.classes, sigma, training.early_stopping, training.epochs, training.lr)


def test_a_scale_is_applied_after_the_one_that_it_extends(child):
    base = child.parent / "base.toml"
    lr = load_spec(base).config().lr
    assert summary(load_spec(base, scale="ten")) == ("ten", 7, 5, 0.04, None, 9, lr)
    assert summary(load_spec(base, scale="twenty")) == ("twenty", 7, None, 0.06, None, 9, 0.3)
    assert summary(load_spec(base, scale="forty")) == ("forty", 7, None, 0.06, None, 8, 0.3)
    assert load_spec(base, scale="forty").multiply == {"rho": 0.5, "sigma": 3.0}


def test_what_a_spec_says_of_a_scale_holds_for_those_that_extend_it(child):
    assert summary(load_spec(child, scale="forty"))[:4] == ("forty", 11, None, 0.09)


def test_a_spec_written_out_at_such_a_scale_says_the_same_alone(child, tmp_path):
    alone = tmp_path / "alone.toml"
    alone.write_text(resolved_toml(child, scale="forty"), encoding="utf-8")
    assert load_spec(alone) == load_spec(child, scale="forty")


@pytest.mark.parametrize(
    ("tables", "error", "words"),
    [
        ('[scale.a]\nextends = "b"\n[scale.b]\nextends = "a"', InputError, r"circle \((a -> b -> a|b -> a -> b)\)"),
        ('[scale.a]\nextends = "a"', InputError, r"circle \(a -> a\)"),
        ('[scale.a]\nextends = "teen"', UnknownNameError, r"'teen': did you mean 'ten'\?.* scale\.a extends it"),
        ('[scale.a]\nextends = ["ten"]', InputError, r"scale\.a\.extends must be the name of a scale"),
        ('[scale.a]\nextends = "ten"\nremove = ["training.early_stopping"]', InputError, r"scale\.a\.remove"),
    ],
)
def test_a_scale_that_cannot_be_extended_is_refused_chosen_or_not(child, tables, error, words):
    base = child.parent / "base.toml"
    base.write_text(f"{BASE}{tables}\n", encoding="utf-8")
    for scale in ("a", None):
        with pytest.raises(error, match=words):
            load_spec(base, scale=scale)
