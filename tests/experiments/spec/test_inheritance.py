"""Specs from files: inheritance, scales, overrides, sweeps, and methods with a network or images of their own."""

import pytest

from aimc_robust.errors import AimcError, InputError, UnknownNameError
from aimc_robust.experiments.spec.inheritance import resolved_toml
from aimc_robust.experiments.spec.loading import load_spec
from aimc_robust.io.toml import parse_setting

BASE = """
name = "base"
train_seeds = [0]
targets = ["digital", "gaussian-0.02", "laplace-0.1"]
[data]
name = "digits"
[model]
name = "small-cnn"
options = { channels = 4 }
[training]
epochs = 100
early_stopping = { sigma = [0.0, 0.1] }
[methods.sgd]
[methods.noisy]
kind = "rwp"
noise = "laplace-0.2"
[scale.mini]
chips = 2
multiply = { rho = 0.25, sigma = 2.0, b = 0.5 }
training = { epochs = 7 }
"""
CHILD = """
extends = "base.toml"
name = "child"
[training]
lr = 0.3
[methods."rwp-{sigma}"]
kind = "rwp"
sweep = { sigma = [0.05, 0.1] }
[methods."sam-{rho}-{ramp.updates}"]
kind = "sam"
ramp = { shape = "quadratic", run = 1000 }
sweep = { rho = [0.2, 1], "ramp.updates" = [100, 250] }
"""


@pytest.fixture
def child(tmp_path):
    (tmp_path / "base.toml").write_text(BASE, encoding="utf-8")
    (tmp_path / "child.toml").write_text(CHILD, encoding="utf-8")
    return tmp_path / "child.toml"


def test_a_scale_can_remove_keys_and_give_its_own(child):
    text = BASE + '[scale.last]\nremove = ["training.early_stopping", "model"]\nmodel = { name = "mlp" }\n'
    (child.parent / "base.toml").write_text(text, encoding="utf-8")
    spec = load_spec(child, scale="last")
    assert (spec.config().early_stopping, spec.config().epochs, spec.config().lr) == (None, 100, 0.3)
    assert (spec.model.name, spec.model.options) == ("mlp", {})
    assert load_spec(child).config().early_stopping is not None


def test_a_key_is_removed_from_every_table_of_a_list_that_has_it(child):
    targets = 'targets = ["digital", {name = "a", noise = "gaussian", sigma = 0.1, selected_at = 0.1}]\n'
    text = "".join(f"{targets}" if line.startswith("targets") else line for line in BASE.splitlines(keepends=True))
    removed = '[scale.last]\nremove = ["training.early_stopping", "targets.selected_at"]\n'
    (child.parent / "base.toml").write_text(text + removed, encoding="utf-8")
    assert [target.selected_at for target in load_spec(child).build_targets()] == [None, 0.1]
    assert [target.selected_at for target in load_spec(child, scale="last").build_targets()] == [None, None]


def test_a_spec_holds_what_it_extends_under_its_own_keys(child):
    spec = load_spec(child)
    assert (spec.name, spec.train_seeds, spec.model.options) == ("child", [0], {"channels": 4})
    assert (spec.config().epochs, spec.config().lr, spec.scale) == (100, 0.3, None)


def test_a_sweep_is_a_method_for_each_combination(child):
    spec = load_spec(child)
    sams = ["sam-0.2-100", "sam-0.2-250", "sam-1-100", "sam-1-250"]
    assert spec.labels == ["sgd", "noisy", "rwp-0.05", "rwp-0.1", *sams]
    assert spec.method("rwp-0.05", seed=0).sigma == 0.05
    found = spec.method("sam-1-250", seed=0)
    assert (found.rho, found.ramp.shape, found.ramp.fraction) == (1, "quadratic", 0.25)


def test_a_scale_lies_over_the_spec_and_multiplies_strengths_but_not_names(child):
    spec = load_spec(child, scale="mini")
    assert (spec.chips, spec.config().epochs, spec.scale, spec.multiply) == (
        2,
        7,
        "mini",
        {"rho": 0.25, "sigma": 2.0, "b": 0.5},
    )
    assert spec.method("rwp-0.05", seed=0).sigma == 0.1
    assert spec.method("sam-1-250", seed=0).rho == 0.25
    assert spec.config().early_stopping.sigmas == (0.0, 0.2)
    assert spec.method("noisy", seed=0).noise.b == 0.1
    digital, gaussian, laplace = spec.build_targets()
    assert (gaussian.name, gaussian.condition.sigma) == ("gaussian-0.02", 0.04)
    assert (laplace.condition.b, digital.condition) == (0.05, None)


def test_a_scale_multiplies_the_early_stopping_of_a_method_too(child):
    with child.open("a", encoding="utf-8") as file:
        file.write('[methods.own]\nkind = "sgd"\ntraining = { early_stopping = { sigma = [0.0, 0.02] } }\n')
    assert load_spec(child).config_of("own").selections == (0.0, 0.02)
    spec = load_spec(child, scale="mini")
    assert spec.config_of("own").selections == (0.0, 0.04)
    assert spec.config_of("sgd").selections == (0.0, 0.2)


def test_a_factor_can_be_set_for_a_scale_and_for_nothing_else(child, tmp_path):
    spec = load_spec(child, scale="mini", overrides=["multiply.sigma=3.0"])
    assert (spec.method("rwp-0.05", seed=0).sigma, spec.multiply["sigma"]) == (pytest.approx(0.15), 3.0)
    with pytest.raises(InputError, match="--scale"):
        load_spec(child, overrides=["multiply.sigma=3.0"])
    whole = tmp_path / "whole.toml"
    whole.write_text(resolved_toml(child, scale="mini"), encoding="utf-8")
    assert load_spec(whole).method("rwp-0.05", seed=0).sigma == 0.1  # not multiplied a second time
    with pytest.raises(InputError, match="--scale"):
        load_spec(whole, overrides=["multiply.sigma=3.0"])


@pytest.mark.parametrize(
    "override", ["training=2", "multiply=2", 'methods.noisy.noise={noise="laplace",name="x",b="y"}']
)
def test_a_value_of_another_kind_is_told_at_a_scale_too(child, override):
    with pytest.raises(InputError):
        load_spec(child, scale="mini", overrides=[override])


def test_overrides_come_last_and_are_kept(child):
    spec = load_spec(child, scale="mini", overrides=["training.epochs=2", "data.name=npz:a b.npz", "chips = 3"])
    assert (spec.config().epochs, spec.data.name, spec.chips) == (2, "npz:a b.npz", 3)
    assert spec.overrides == ["training.epochs=2", "data.name=npz:a b.npz", "chips = 3"]


def test_an_override_reaches_a_label_with_dots(child):
    assert parse_setting('methods."rwp-0.05".sigma=0.2') == {"methods": {"rwp-0.05": {"sigma": 0.2}}}
    spec = load_spec(child, overrides=['methods."rwp-{sigma}".sweep.sigma=[0.3]'])
    assert "rwp-0.3" in spec.labels
    assert "rwp-0.05" not in spec.labels


@pytest.mark.parametrize("text", ["epochs", "=2", "a..b=2"])
def test_an_override_that_says_nothing_is_refused(text):
    with pytest.raises(InputError, match="KEY=VALUE"):
        parse_setting(text)


@pytest.mark.parametrize(
    ("scale", "words"),
    [
        ("chips = 0", r"scale\.broken: chips"),
        ("training = { epochs = -1 }", r"scale\.broken: training"),
        ("trainig = { epochs = 1 }", "unknown key 'trainig'"),
        ("multiply = { rho = 'half' }", r"multiply\.rho"),
        ("methods = { sgd = { sigma = 0.1 } }", r"scale\.broken: methods\.sgd"),
        ('remove = ["training.early_stoping"]', r"scale\.broken\.remove: .* no key 'training.early_stoping'"),
        ('remove = ["name.first"]', r"no key 'name.first'"),
        ('remove = "training"', r"scale\.broken\.remove must be a list of keys"),
    ],
)
def test_a_scale_that_is_not_used_is_checked_all_the_same(child, scale, words):
    path = child.parent / "base.toml"
    path.write_text(f"{BASE}[scale.broken]\n{scale}\n", encoding="utf-8")
    for chosen in (None, "mini"):
        with pytest.raises(InputError, match=words):
            load_spec(path, scale=chosen)
        with pytest.raises(InputError, match=words):  # a scale that is inherited too
            load_spec(child, scale=chosen)
    assert load_spec(path, overrides=["chips=3"]).chips == 3  # overrides may be meant for one scale only


def test_inheritance_in_a_circle_is_told_with_its_way(tmp_path):
    for name, base in (("a", "b"), ("b", "c"), ("c", "a")):
        (tmp_path / f"{name}.toml").write_text(f'extends = "{base}.toml"\n', encoding="utf-8")
    with pytest.raises(InputError, match=r"a\.toml.*b\.toml.*c\.toml.*a\.toml"):
        load_spec(tmp_path / "a.toml")


def test_a_missing_base_is_told(tmp_path):
    (tmp_path / "a.toml").write_text('extends = "gone.toml"\n', encoding="utf-8")
    with pytest.raises(InputError, match=r"gone\.toml"):
        load_spec(tmp_path / "a.toml")


def test_an_unknown_scale_is_told_with_the_known_ones(child):
    with pytest.raises(UnknownNameError, match=r"'minni'.*'mini'"):
        load_spec(child, scale="minni")


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        ('[methods."rwp"]\nsweep = { sigma = [0.1, 0.2] }', "label"),
        ('[methods."rwp-{sigma}"]\nkind = "rwp"\nsweep = { sigma = [] }', "lists"),
        (
            '[methods."rwp-{sigma}"]\nkind = "rwp"\nsweep = { sigma = [0.1] }\n[methods."rwp-0.1"]',
            "rwp-0.1",
        ),
        ('[methods.rwp]\nsigma = 0.1\nmodel = "resnet"', "methods"),
        ("[methods.rwp]\nsigma = 0.1\ntraining = { epoch = 3 }", "epoch"),
        ('[methods.rwp]\nsigma = 0.1\nramp = { shape = "linear", updates = 20, run = 10 }', "from 1 to 10"),
    ],
)
def test_a_method_that_cannot_be_is_told(child, methods, message):
    child.write_text(f'extends = "base.toml"\n{methods}\n', encoding="utf-8")
    with pytest.raises(AimcError, match=message):
        load_spec(child)


def test_a_method_may_have_a_network_images_and_a_recipe_of_its_own(child):
    own = (
        '[methods.other]\nkind = "sgd"\nmodel = { name = "resnet" }\ntraining = { epochs = 3 }\ndata = { classes = 4 }'
    )
    child.write_text(f'extends = "base.toml"\n{own}\n', encoding="utf-8")
    spec = load_spec(child)
    assert (spec.model_of("sgd").name, spec.model_of("sgd").options) == ("small-cnn", {"channels": 4})
    assert (spec.model_of("other").name, spec.model_of("other").options) == ("resnet", {})
    assert (spec.config_of("other").epochs, spec.data_of("other").classes) == (3, 4)
    assert (spec.config_of("sgd").epochs, spec.data_of("sgd").classes) == (100, None)


def test_a_recipe_is_known_by_its_content_not_by_its_label_or_its_targets(child):
    spec = load_spec(child)
    renamed = CHILD.replace('"rwp-{sigma}"', '"noisy-{sigma}"').replace('name = "child"', 'name = "x"\nchips = 3')
    child.write_text(renamed, encoding="utf-8")
    other = load_spec(child)
    assert other.recipe("noisy-0.1", 0) == spec.recipe("rwp-0.1", 0)
    known = {spec.recipe(label, seed) for label in spec.labels for seed in (0, 1)}
    assert len(known) == 2 * len(spec.labels)
    assert load_spec(child, overrides=["training.lr=0.2"]).recipe("sgd", 0) not in known
    assert load_spec(child, overrides=["model.options.channels=8"]).recipe("sgd", 0) not in known


def test_a_network_of_the_users_own_is_another_recipe_when_its_code_has_changed(child, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    code = tmp_path / "own_network_of_this_test.py"
    code.write_text("def build():\n    return 1\n", encoding="utf-8")
    spec = load_spec(child, overrides=["model.name=own_network_of_this_test:build", "model.options={}"])
    first = spec.recipe("sgd", 0)
    assert spec.recipe("sgd", 0) == first
    code.write_text("def build():\n    return 2\n", encoding="utf-8")
    assert spec.recipe("sgd", 0) != first


def test_targets_find_the_epoch_that_suits_them(child):
    spec = load_spec(child)
    config = spec.config()
    assert [target.selection(config) for target in spec.build_targets()] == [0, 0, 1]
    crossbar = load_spec(child, overrides=['targets=[{ device = "rram-milo2021", selected_at = 0.1 }]'])
    assert crossbar.build_targets()[0].selection(config) == 1
    for target, message in (
        ('"rram-milo2021"', "selected_at"),
        ('{ name = "x", split = "training", selected_at = 0.3 }', "0.0, 0.1"),
    ):
        with pytest.raises(InputError, match=message):
            load_spec(child, overrides=[f"targets=[{target}]"])


def test_a_spec_written_out_whole_asks_the_same_question_without_its_base(child, tmp_path):
    text = resolved_toml(child, scale="mini", overrides=["chips=3"])
    (tmp_path / "base.toml").unlink()
    alone = tmp_path / "alone.toml"
    alone.write_text(text, encoding="utf-8")
    found = load_spec(alone)
    (tmp_path / "base.toml").write_text(BASE, encoding="utf-8")
    assert found == load_spec(child, scale="mini", overrides=["chips=3"])
    plain = tmp_path / "base.toml"
    assert resolved_toml(plain) == BASE  # an author's text that stands alone stays as it is
