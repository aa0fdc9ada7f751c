"""Which weights of a file are meant: by key, prefix and pattern, said aloud where it was a choice."""

import re

import pytest
import torch
from torch import nn

import aimc_robust as ar
from aimc_robust.errors import CheckpointError, InputError
from aimc_robust.models.pretrained import load_weights, read_weights
from aimc_robust.models.weight_selection import WeightSelection
from aimc_robust.seeding import global_seed


def net(seed=0):
    with global_seed(seed):
        return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 10))


RAW, EMA = net(0).state_dict(), net(1).state_dict()


def renamed(prefix, state=RAW):
    return {prefix + name: value for name, value in state.items()}


LIGHTNING = renamed("net.") | {"loss.weight": torch.ones(10), "metric.total": torch.zeros(())}
DISTILLED = renamed("student.") | renamed("teacher.", EMA)


@pytest.fixture
def loaded(tmp_path):
    """Load what a file holds, with options: (model, notes)."""

    def load(held, model=None, **options):
        torch.save(held, tmp_path / "x.pt")
        model = net(9) if model is None else model
        weights = read_weights(tmp_path / "x.pt", WeightSelection(**options))
        return model, (*weights.notes, *load_weights(model, weights, source="x.pt"))

    return load


def same(model, state):
    return all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


class TestKey:
    BOTH = {"state_dict": RAW, "state_dict_ema": EMA, "epoch": 3}  # noqa: RUF012 (read only)

    def test_a_choice_between_several_is_said_with_the_way_to_the_others(self, loaded):
        model, notes = loaded(self.BOTH)
        assert same(model, RAW)
        assert notes == (
            "read the weights under 'state_dict'; the file also holds 'state_dict_ema' (choose by --key "
            "state_dict_ema)",
        )

    def test_a_key_takes_the_average_or_the_raw_weights(self, loaded):
        for key, state in (("state_dict_ema", EMA), ("state_dict", RAW)):
            model, notes = loaded(self.BOTH, key=key)
            assert same(model, state)
            assert notes == (f"read the weights under {key!r}",)

    def test_a_dotted_key(self, loaded):
        held = {"run": {"student": {"weights": RAW}, "teacher": {"weights": EMA}}}
        assert same(loaded(held, key="run.teacher.weights")[0], EMA)

    @pytest.mark.parametrize("key", ["model_ema", "state_dict_ema", "anything"])
    def test_the_only_one_needs_no_key_whatever_it_is_called(self, key, loaded):
        model, notes = loaded({key: EMA, "epoch": 3})
        assert same(model, EMA)
        assert notes == (f"read the weights under {key!r}",)

    def test_a_choice_that_does_not_fit_is_said_with_the_others(self, loaded):
        with pytest.raises(CheckpointError, match=r"missing 0.* the file also holds 'ema' \(choose by --key ema"):
            loaded({"model": nn.Linear(2, 2).state_dict(), "ema": EMA})

    def test_several_of_unknown_names_are_not_guessed_among(self, loaded):
        with pytest.raises(CheckpointError, match=r"several state_dicts: student, teacher; choose one by --key"):
            loaded({"student": RAW, "teacher": EMA})

    def test_an_unknown_key_is_answered_with_those_that_are_there(self, loaded):
        with pytest.raises(CheckpointError, match=r"no state_dict 'ema'; --key is one of state_dict, state_dict_ema"):
            loaded(self.BOTH, key="ema")
        with pytest.raises(CheckpointError, match=r"no key 'ema'; leave out --key"):
            loaded(RAW, key="ema")

    def test_tensors_beside_the_weights_are_no_choice(self, loaded):
        held = {"state_dict": EMA, "averaging_state": {"n_averaged": torch.ones(1)}, "rng": {"cpu": torch.ones(3)}}
        assert loaded(held)[1] == ("read the weights under 'state_dict'",)

    def test_what_torchvisions_references_write(self, loaded):
        """Their average is an AveragedModel: names with `module.` and a counter."""
        average = torch.optim.swa_utils.AveragedModel(net(1)).state_dict()
        held = {"model": RAW, "model_ema": average, "optimizer": {}, "epoch": 1}
        model, notes = loaded(held)
        assert same(model, RAW)
        assert "'model_ema' (choose by --key model_ema)" in notes[0]
        with pytest.raises(CheckpointError, match=r"unexpected module\.0.*The names fit with --prefix 'module\.'"):
            loaded(held, key="model_ema")
        assert same(loaded(held, key="model_ema", prefix="module.")[0], EMA)

    def test_what_lightning_writes_with_averages(self, loaded):
        held = {"state_dict": EMA, "current_model_state": RAW, "averaging_state": {"n_averaged": torch.ones(())}}
        model, notes = loaded(held)
        assert same(model, EMA)
        assert notes[0].endswith("the file also holds 'current_model_state' (choose by --key current_model_state)")


class TestPrefixAndIgnore:
    def test_a_prefix_keeps_its_names_and_is_removed(self, loaded):
        model, notes = loaded(LIGHTNING, prefix="net.")
        assert same(model, RAW)
        assert notes == ("kept 9 of 11 names, those with the prefix 'net.'",)
        assert same(loaded(DISTILLED, prefix="teacher.")[0], EMA)

    def test_patterns_drop_names_as_they_are_in_the_file(self, loaded):
        model, notes = loaded(LIGHTNING, ignore=["loss.*", "metric.total"])
        assert same(model, RAW)
        assert notes == ("ignored loss.weight, metric.total", "removed the prefix 'net.' from all names")
        held = renamed("net.", RAW | {"aux.weight": torch.ones(1)}) | {"loss.weight": torch.ones(10)}
        assert same(loaded(held, prefix="net.", ignore=["net.aux.*"])[0], RAW)

    def test_a_pattern_without_names_is_said(self, loaded):
        assert loaded(RAW, ignore=["lost.*"])[1] == ("no name matches --ignore 'lost.*'",)

    def test_weights_of_the_model_cannot_be_ignored_away(self, loaded):
        with pytest.raises(CheckpointError, match=r"missing 3\.bias"):
            loaded(RAW, ignore=["3.bias"])

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"prefix": "model."}, r"no name with --prefix 'model\.'; its names are net\.0\.weight, net\.0\.bias,"),
            ({"ignore": ["*"]}, r"no name that --ignore leaves.* and 7 more"),
        ],
    )
    def test_options_that_leave_nothing(self, options, words, loaded):
        with pytest.raises(CheckpointError, match=words):
            loaded(LIGHTNING, **options)


SUGGESTIONS = {
    "Lightning's names": (LIGHTNING, {}, "--prefix 'net.'"),
    "two networks": (DISTILLED, {}, "--prefix 'student.', or with --prefix 'teacher.'"),
    "a loss beside": (RAW | {"loss.weight": torch.ones(1)}, {}, "--ignore 'loss.*'"),
    "a counter beside": (RAW | {"steps": torch.ones(1)}, {}, "--ignore 'steps'"),
    "two parts beside": (
        RAW | {"loss.w": torch.ones(1), "steps": torch.ones(1)},
        {},
        "--ignore 'loss.*' --ignore 'steps'",
    ),
    "an average beside": (RAW | renamed("ema.", EMA), {}, "--prefix 'ema.', or with --ignore 'ema.*'"),
    "a loss in a wrapper": (renamed("module.", RAW | {"loss.w": torch.ones(1)}), {}, "--ignore 'module.loss.*'"),
    "a prefix and a loss": (
        renamed("net.", RAW | {"aux.w": torch.ones(1)}) | {"loss.w": torch.ones(1)},
        {},
        "--prefix 'net.' --ignore 'net.aux.*'",
    ),
    "half a prefix": (renamed("net.a.") | {"loss.w": torch.ones(1)}, {"prefix": "net."}, "--prefix 'net.a.'"),
    "a prefix without its dot": (LIGHTNING, {"prefix": "net"}, "--prefix 'net.'"),
    "counts of BatchNorm missing": (
        {n: v for n, v in LIGHTNING.items() if "num_batches" not in n},
        {},
        "--prefix 'net.'",
    ),
}


class TestSuggestions:
    @pytest.mark.parametrize("case", SUGGESTIONS)
    def test_a_mismatch_names_the_options_that_fit_and_they_do(self, case, loaded):
        held, given, options = SUGGESTIONS[case]
        with pytest.raises(CheckpointError) as caught:
            loaded(held, **given)
        assert f"The names fit with {options}, if the others are no part of the model." in str(caught.value)
        for option in options.split(", or with "):
            words = re.findall(r"--(\w+) '([^']+)'", option)
            chosen = given | {key: value for key, value in words if key == "prefix"}
            model, _ = loaded(held, **chosen, ignore=[value for key, value in words if key == "ignore"])
            assert same(model, EMA if "teacher" in option or "--prefix 'ema" in option else RAW)

    @pytest.mark.parametrize(
        "held",
        [
            {n: v for n, v in RAW.items() if n != "3.bias"},
            RAW | {"3.scale": torch.ones(10)},  # a part of the model: its options differ
            renamed("net.", {n: v for n, v in RAW.items() if n != "3.bias"}),
            RAW | {f"part{i}.w": torch.ones(1) for i in range(5)},
            {"x": torch.ones(1)},
        ],
        ids=["missing", "own part", "missing below a prefix", "many", "other"],
    )
    def test_options_that_would_hide_a_difference_of_the_model_are_not_suggested(self, held, loaded):
        with pytest.raises(CheckpointError) as caught:
            loaded(held)
        assert "--prefix" not in str(caught.value)
        assert "--ignore" not in str(caught.value)


class TestIdentity:
    """The hash is of what is selected: rows of other weights cannot share it, nor need equal weights differ."""

    def test_options_that_select_other_weights_give_another_hash(self, tmp_path):
        torch.save({"state_dict": DISTILLED, "ema": DISTILLED | {"loss.w": torch.ones(1)}}, tmp_path / "x.pt")
        selections = [
            {},
            {"key": "ema"},
            {"prefix": "student."},
            {"prefix": "teacher."},
            {"ignore": ["*.0.bias"]},
            {"key": "ema", "ignore": ["*.0.bias"]},
        ]
        ids = [read_weights(tmp_path / "x.pt", WeightSelection(**options)).id for options in selections]
        assert len(set(ids)) == len(selections)
        equal = {"key": "ema", "ignore": ["loss.*"]}
        assert read_weights(tmp_path / "x.pt", WeightSelection(**equal)).id == ids[0]

    @pytest.mark.parametrize("change", ["value", "name", "dtype", "shape"])
    def test_each_property_of_a_tensor_counts(self, change, tmp_path):
        weight = RAW["3.weight"]
        other = {
            "value": RAW | {"3.weight": weight.clone().index_fill_(0, torch.tensor(0), 0.0)},
            "name": {f"{name}x" if name == "3.weight" else name: value for name, value in RAW.items()},
            "dtype": RAW | {"3.weight": weight.to(torch.float64)},
            "shape": RAW | {"3.weight": weight.reshape(144, 10)},
        }[change]
        torch.save(RAW, tmp_path / "a.pt")
        torch.save(other, tmp_path / "b.pt")
        assert read_weights(tmp_path / "a.pt").id != read_weights(tmp_path / "b.pt").id

    def test_views_that_negate_lazily_have_the_hash_of_their_values(self, tmp_path):
        z = torch.complex(torch.arange(3.0), torch.ones(3))
        torch.save({"w": z.conj(), "v": z.clone().conj().imag}, tmp_path / "lazy.pt")
        torch.save({"w": z.conj_physical(), "v": -torch.ones(3)}, tmp_path / "plain.pt")
        torch.save({"w": z, "v": torch.ones(3)}, tmp_path / "other.pt")
        lazy, plain, other = (read_weights(tmp_path / f"{name}.pt").id for name in ("lazy", "plain", "other"))
        assert lazy == plain != other

    @pytest.mark.parametrize(
        ("value", "kind"),
        [
            (lambda: torch.ones(2, 2).to_sparse(), "sparse"),
            (lambda: torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8), "quantized"),
            (lambda: torch.ones(2, device="meta"), "meta"),
        ],
    )
    def test_weights_without_plain_values_are_refused_if_they_are_meant(self, value, kind, tmp_path):
        torch.save({"state_dict": RAW, "ema": {"w": value()}}, tmp_path / "x.pt")
        assert read_weights(tmp_path / "x.pt").tensors.keys() == RAW.keys()
        with pytest.raises(CheckpointError, match=rf"w is a {kind}"):
            read_weights(tmp_path / "x.pt", WeightSelection(key="ema"))


class TestLoadCheckpoint:
    def test_it_loads_and_warns_of_the_choice(self, tmp_path):
        torch.save({"state_dict": RAW, "state_dict_ema": EMA}, tmp_path / "x.pt")
        with pytest.warns(UserWarning, match=r"x\.pt: .*choose by --key state_dict_ema") as caught:
            assert same(ar.load_checkpoint(net(9), tmp_path / "x.pt"), RAW)
        assert caught[0].filename == __file__
        with pytest.warns(UserWarning, match="'state_dict_ema'"):
            assert same(ar.load_checkpoint(net(9), str(tmp_path / "x.pt"), key="state_dict_ema"), EMA)
        torch.save(LIGHTNING, tmp_path / "pl.ckpt")
        with pytest.warns(UserWarning, match="ignored"):
            model = ar.load_checkpoint(net(9), tmp_path / "pl.ckpt", prefix="net.", ignore=("loss.*", "metric.*"))
        assert same(model, RAW)

    def test_arguments_of_other_types(self, tmp_path):
        torch.save(RAW, tmp_path / "x.pt")
        with pytest.raises(InputError, match="ignore"):
            ar.load_checkpoint(net(9), tmp_path / "x.pt", ignore=[3])
        with pytest.raises(InputError, match="key"):
            ar.load_checkpoint(net(9), tmp_path / "x.pt", key=3)


def test_the_options_can_be_typed_again():
    assert WeightSelection().options == ""
    selection = WeightSelection(key="a b", prefix="net.", ignore=["loss.*", "x"])
    assert selection.options == "--key 'a b' --prefix net. --ignore 'loss.*' --ignore x"
