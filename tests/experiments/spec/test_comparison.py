"""A spec says one thing, or is refused with the file, the key and the remedy."""

import tomllib

import pytest

from aimc_robust.analysis.diagnostics import DiagnosticsConfig
from aimc_robust.errors import InputError
from aimc_robust.experiments.spec.loading import load_spec, spec_from_dict
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.noise.distributions import Gaussian
from aimc_robust.training.methods.ramp import Ramp
from aimc_robust.training.methods.rwp import MixedRWP
from aimc_robust.training.methods.sgd import SGD


def test_methods_targets_and_recipe_are_built_as_written(write_spec):
    spec = load_spec(write_spec())
    assert spec.method("sgd", seed=3) == SGD(seed=3)
    ramp = Ramp(shape="linear", updates=25)
    assert spec.method("m-rwp", seed=1).for_run(50) == MixedRWP(sigma=0.1, ramp=ramp, seed=1)
    assert [t.condition for t in spec.build_targets()] == [None, Gaussian(0.2), Crossbar("rram-wan2022")]
    assert spec.config().early_stopping.draws == 2


def test_diagnostics_are_off_without_their_table_and_share_the_root_seed(write_spec):
    assert load_spec(write_spec()).build_diagnostics() is None
    seed = ("train_seeds = [0, 1]", "data_seed = 5\ntrain_seeds = [0, 1]")
    bare = load_spec(write_spec(seed, ("[methods.sgd]", "[diagnostics]\n[methods.sgd]")))
    assert bare.build_diagnostics() == DiagnosticsConfig(seed=5)
    full = load_spec(write_spec(("[methods.sgd]", "[diagnostics]\nsigmas = [0.1]\nrho = 0.2\n[methods.sgd]")))
    assert full.build_diagnostics() == DiagnosticsConfig(sigmas=(0.1,), rho=0.2)


def test_target_tables_set_mapping_and_scale(write_spec):
    targets = """targets = [
      { name = "wan-two-sided", device = "rram-wan2022", mapping = "two-sided", cell_bits = 4, window = [2.0, 30.0] },
      { name = "norm", noise = "gaussian", sigma = 0.02, scale = "filter_norm" } ]"""
    spec = load_spec(write_spec(('targets = ["digital", "gaussian-0.2", "rram-wan2022"]', targets)))
    crossbar, noise = [t.condition for t in spec.build_targets()]
    assert crossbar == Crossbar("rram-wan2022", mapping="two-sided", cell_bits=4, window=(2.0, 30.0))
    assert noise == Gaussian(0.02, "filter_norm")


FAULTS = {
    "unknown key": (("chips = 3", "chps = 3"), ["chps", "'chips'"]),
    "unknown key in a table": (("epochs = 3", "epoch = 2"), ["training", "epoch", "'epochs'"]),
    "unknown method": (("[methods.sgd]", '[methods.x]\nkind = "sdg"'), ["methods.x", "sdg", "'sgd'"]),
    "unknown method by label": (("[methods.sgd]", "[methods.smm]"), ["methods.smm", "sam"]),
    "unknown key of a method": (("sigma = 0.1\nramp", "sgma = 0.1\nramp"), ["methods.m-rwp", "'sigma'"]),
    "missing strength": (("[methods.sgd]", "[methods.sam]"), ["methods.sam.rho", "required"]),
    "negative strength": (("sigma = 0.1\nramp", "sigma = -1\nramp"), ["methods.m-rwp", "sigma", "-1"]),
    "strength as text": (("sigma = 0.1\nramp", 'sigma = "big"\nramp'), ["methods.m-rwp", "sigma", "'big'"]),
    "wrong type": (("chips = 3", 'chips = "many"'), ["chips", "'many'"]),
    "no chips": (("chips = 3", "chips = 0"), ["chips", "0"]),
    "unknown target": (('"rram-wan2022"]', '"rram-wan"]'), ["targets", "'rram-wan2022'"]),
    "same target twice": (('"rram-wan2022"]', '"digital"]'), ["digital"]),
    "target table without device": (
        ('"rram-wan2022"]', '{ mapping = "offset" }]'),
        ["targets", "device", "mapping"],
    ),
    "unknown mapping": (
        ('"rram-wan2022"]', '{ device = "ideal", mapping = "one" }]'),
        ["targets", "mapping", "'one-sided'"],
    ),
    "unknown ramp": (('shape = "linear"', 'shape = "cubic"'), ["methods.m-rwp", "cubic", "quadratic"]),
    "ramp of two lengths": (
        ("fraction = 0.5", "fraction = 0.5, updates = 3"),
        ["methods.m-rwp", "`updates`", "`fraction`"],
    ),
    "ramp longer than the run": (("fraction = 0.5", "fraction = 1.5"), ["fraction", "1.5"]),
    "same seed twice": (("train_seeds = [0, 1]", "train_seeds = [1, 1]"), ["seeds"]),
    "no epochs": (("epochs = 3", "epochs = 0"), ["training", "epochs", "0"]),
    "missing table": (
        ('[model]\nname = "small-cnn"\noptions = { channels = 4, stages = 2 }\n', ""),
        ["model"],
    ),
    "a list for a kind": (("[methods.sgd]", '[methods.x]\nkind = ["sgd"]'), ["methods.x", "['sgd']"]),
    "a list for a scale": (("sigma = 0.1\nramp", 'sigma = 0.1\nscale = ["a"]\nramp'), ["methods.m-rwp", "['a']"]),
    "a list for a noise": (("[methods.sgd]", '[methods.x]\nkind = "rwp"\nnoise = ["a"]'), ["methods.x", "['a']"]),
    "a list for a target's noise": (
        ('"rram-wan2022"]', '{ noise = ["a"], radius = 0.5 }]'),
        ["targets", "noise", "['a']"],
    ),
    "digital as noise": (("[methods.sgd]", '[methods.x]\nkind = "rwp"\nnoise = "digital"'), ["methods.x", "`digital`"]),
    "a number for a target": (('"rram-wan2022"]', "5]"), ["targets", "5"]),
    "an impossible target name": (('"rram-wan2022"]', '{ name = "a|b", device = "ideal" }]'), ["targets", "'a|b'"]),
    "a noise posing as digital": (
        ('"digital", "gaussian-0.2", "rram-wan2022"]', '{ name = "digital", noise = "gaussian", sigma = 0.1 }]'),
        ["targets", "`digital`"],
    ),
    "an empty window": (('"rram-wan2022"]', '{ device = "rram-wan2022", window = [] }]'), ["targets", "window"]),
    "a missing card": (('"rram-wan2022"]', '"gone.toml"]'), ["gone.toml"]),
    "a label that ends in a newline": (("[methods.sgd]", '[methods."a\\n"]\nkind = "sgd"'), ["methods", "label"]),
    "unknown key of diagnostics": (
        ("[methods.sgd]", "[diagnostics]\nsigma = [0.1]\n[methods.sgd]"),
        ["diagnostics", "'sigmas'"],
    ),
    "a negative sigma of diagnostics": (
        ("[methods.sgd]", "[diagnostics]\nsigmas = [-0.1]\n[methods.sgd]"),
        ["diagnostics", "sigmas", "-0.1"],
    ),
    "a sigma of diagnostics that is no number": (
        ("[methods.sgd]", "[diagnostics]\nsigmas = [nan]\n[methods.sgd]"),
        ["diagnostics", "sigmas", "nan"],
    ),
    "diagnostics on no images": (
        ("[methods.sgd]", "[diagnostics]\nimages = 0\n[methods.sgd]"),
        ["diagnostics", "images", "0"],
    ),
    "a seed of diagnostics": (("[methods.sgd]", "[diagnostics]\nseed = 1\n[methods.sgd]"), ["diagnostics", "seed"]),
    "diagnostics that are no table": (
        ("train_seeds = [0, 1]", "train_seeds = [0, 1]\ndiagnostics = true"),
        ["diagnostics"],
    ),
    "not TOML": (("train_seeds = [0, 1]", "train_seeds = [0, 1"), ["TOML"]),
    "a label that is no file name": (("[methods.sgd]", '[methods."a/b"]\nkind = "sgd"'), ["methods", "a/b"]),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_told_with_file_key_and_remedy(fault, write_spec):
    change, words = FAULTS[fault]
    path = write_spec(change)
    with pytest.raises(InputError) as caught:
        load_spec(path)
    message = str(caught.value)
    assert "\n" not in message
    for word in [str(path), *words]:
        assert word in message, message


def test_an_unknown_key_is_answered_with_keys_for_users(write_spec):
    with pytest.raises(InputError) as caught:
        load_spec(write_spec(), overrides=["epochs=2"])
    assert "unknown key 'epochs': did you mean 'training.epochs'? Known: chip_seed, chips, data," in str(caught.value)
    assert not any(key in str(caught.value) for key in ("code_digests", "overrides", "kind"))
    with pytest.raises(InputError) as caught:
        load_spec(write_spec(('"rram-wan2022"]', '{ device = "rram-wan2022", row = 3 }]')))
    assert "did you mean 'rows'?" in str(caught.value)
    assert "code_digests" not in str(caught.value)


def test_a_missing_spec_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match=r"nothing\.toml"):
        load_spec(tmp_path / "nothing.toml")


@pytest.mark.parametrize(
    ("values", "location"),
    [
        ({"targets": ["digital", {"device": "rram-wan2022", "stuck": "gone.npz"}]}, "targets.1: "),
        ({"targets": [{"name": "chip", "device": "rram-wan2022", "stuck": "gone.npz"}]}, "targets.chip: "),
        ({"methods": {"a": {"kind": "sgd", "faults": {"device": "rram-wan2022", "stuck": "gone.npz"}}}}, "methods.a: "),
    ],
)
def test_a_missing_fault_map_is_told_with_its_table(values, location, tiny):
    with pytest.raises(InputError, match=f"spec: {location}.*gone.npz"):
        spec_from_dict(tomllib.loads(tiny) | values)
