"""Weights of any origin: what fits is read, what does not is listed, and nothing in a file is ever run."""

import pickle

import pandas as pd
import pytest
import safetensors.torch
import torch
from support.measure import measure
from torch import nn

from aimc_robust.data.batches import split_batches
from aimc_robust.data.loading import load_data
from aimc_robust.errors import CheckpointError
from aimc_robust.experiments.spec.loading import load_spec
from aimc_robust.models.checkpoint import write_checkpoint
from aimc_robust.models.pretrained import load_weights, read_weights
from aimc_robust.models.registry import build_model
from aimc_robust.seeding import global_seed


def net(seed=0):
    with global_seed(seed):
        model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))
        model.train()(torch.randn(50, 1, 6, 6))
    return model.eval()


STATE = net().state_dict()


def loaded(path, model=None):
    """A model of other weights that the file's were put into, and all notes."""
    model = net(1) if model is None else model
    weights = read_weights(path)
    return model, (*weights.notes, *load_weights(model, weights, source=path.name))


def same(model, state=STATE):
    return all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def saved(folder, held, name="model.pt", **options):
    torch.save(held, folder / name, **options)
    return folder / name


def renamed(prefix, state=STATE):
    return {prefix + name: value for name, value in state.items()}


class TestWhatIsRead:
    def test_safetensors(self, tmp_path):
        safetensors.torch.save_file(STATE, tmp_path / "model.safetensors")
        model, notes = loaded(tmp_path / "model.safetensors")
        assert same(model)
        assert notes == ()

    def test_safetensors_under_another_ending(self, tmp_path):
        safetensors.torch.save_file(STATE, tmp_path / "model.bin")
        assert same(loaded(tmp_path / "model.bin")[0])

    @pytest.mark.parametrize("name", ["model.pt", "model.pth", "model.ckpt", "model"])
    @pytest.mark.parametrize("zipped", [True, False])
    def test_what_torch_saved(self, tmp_path, name, zipped):
        path = saved(tmp_path, STATE, name, _use_new_zipfile_serialization=zipped)
        model, notes = loaded(path)
        assert same(model)
        assert not same(net(1))  # control
        assert notes == ()

    @pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model_state", "model", "net", "weights", "ema"])
    def test_a_training_checkpoint_around_them(self, tmp_path, key):
        path = saved(tmp_path, {"epoch": 3, "optimizer": {"lr": 0.1, "state": {0: torch.zeros(2)}}, key: STATE})
        model, notes = loaded(path)
        assert same(model)
        assert notes == (f"read the weights under '{key}'",)

    def test_a_checkpoint_within_a_checkpoint(self, tmp_path):
        model, notes = loaded(saved(tmp_path, {"model": {"state_dict": STATE, "step": 7}, "args": {"lr": 0.1}}))
        assert same(model)
        assert notes == ("read the weights under 'model.state_dict'",)

    @pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "model."])
    def test_a_prefix_of_all_names_is_taken_off(self, tmp_path, prefix):
        model, notes = loaded(saved(tmp_path, renamed(prefix)))
        assert same(model)
        assert notes == (f"removed the prefix '{prefix}' from all names",)

    def test_a_prefix_that_is_the_models_own_stays(self, tmp_path):
        wrapped = nn.ModuleDict({"model": net(1)})
        _, notes = loaded(saved(tmp_path, renamed("model.")), wrapped)
        assert same(wrapped["model"])
        assert notes == ()

    def test_an_outer_prefix_is_taken_off_and_the_models_own_stays(self, tmp_path):
        wrapped = nn.ModuleDict({"model": net(1)})
        _, notes = loaded(saved(tmp_path, renamed("module.model.")), wrapped)
        assert same(wrapped["model"])
        assert notes == ("removed the prefix 'module.' from all names",)

    def test_what_lightning_and_a_compiled_model_write(self, tmp_path):
        model, notes = loaded(saved(tmp_path, {"state_dict": renamed("model._orig_mod."), "epoch": 1}, "last.ckpt"))
        assert same(model)
        assert notes == (
            "read the weights under 'state_dict'",
            "removed the prefix 'model._orig_mod.' from all names",
        )

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
    def test_another_precision_is_read_into_the_models_and_said(self, tmp_path, dtype):
        stored = {name: value.to(dtype) if value.is_floating_point() else value for name, value in STATE.items()}
        safetensors.torch.save_file(stored, tmp_path / "half.safetensors")
        model, notes = loaded(tmp_path / "half.safetensors")
        assert model[0].weight.dtype == torch.float32
        assert same(model, {name: value.to(STATE[name].dtype) for name, value in stored.items()})
        assert notes == (f"{dtype} weights were converted to the model's precision",)

    def test_missing_counts_of_batchnorm_stay_the_models(self, tmp_path):
        without = {name: value for name, value in STATE.items() if "num_batches" not in name}
        model, _ = loaded(saved(tmp_path, renamed("module.", without)))
        assert torch.equal(model[1].running_mean, STATE["1.running_mean"])
        x = torch.randn(5, 1, 6, 6)
        assert torch.equal(model(x), net()(x))

    def test_shared_weights_under_one_of_their_names(self, tmp_path):
        def tied(seed):
            torch.manual_seed(seed)
            model = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4))
            model[2].weight = model[0].weight
            return model

        safetensors.torch.save_model(tied(0), str(tmp_path / "tied.safetensors"))
        assert len(safetensors.torch.load_file(tmp_path / "tied.safetensors")) == 3  # of 4 names
        model, _ = loaded(tmp_path / "tied.safetensors", tied(1))
        assert same(model, tied(0).state_dict())

    def test_the_same_weights_have_the_same_id_in_any_file_and_others_another(self, tmp_path):
        first, again = saved(tmp_path, STATE, "a.pt"), saved(tmp_path, {"model": STATE, "epoch": 1}, "b.pt")
        safetensors.torch.save_file(STATE, tmp_path / "c.safetensors")
        other = saved(tmp_path, net(1).state_dict(), "d.pt")
        assert read_weights(first).id == read_weights(again).id == read_weights(tmp_path / "c.safetensors").id
        assert read_weights(first).id != read_weights(other).id


class TestWhatDoesNotFit:
    def test_missing_and_unexpected_names_and_shapes_are_all_listed(self, tmp_path):
        state = {name: value for name, value in STATE.items() if name not in ("0.bias", "1.running_var")}
        path = saved(tmp_path, state | {"extra.weight": torch.zeros(1), "4.weight": torch.zeros(3, 65)})
        with pytest.raises(CheckpointError) as caught:
            loaded(path)
        assert str(caught.value) == (
            "model.pt is a checkpoint of another model than Sequential: missing 0.bias, 1.running_var; unexpected "
            "extra.weight; 4.weight has shape (3, 65), the model's has (3, 64). Name the model and options (and "
            "--classes) that it was trained with."
        )

    def test_of_many_names_the_first_are_listed_and_the_rest_counted_each_kind_by_itself(self, tmp_path):
        deep = nn.Sequential(*[nn.Linear(2, 2) for _ in range(10)])
        with pytest.raises(CheckpointError) as caught:
            loaded(saved(tmp_path, {f"layer{i}.weight": torch.zeros(2) for i in range(20)}), deep)
        text = str(caught.value)
        assert "missing 0.weight, 0.bias, 1.weight" in text
        assert " and 12 more; unexpected layer0.weight, layer1.weight" in text

    def test_a_prefix_of_some_names_only_is_not_guessed_away(self, tmp_path):
        with pytest.raises(CheckpointError, match=r"loss\.weight.*module\.0\.bias"):
            loaded(saved(tmp_path, renamed("module.") | {"loss.weight": torch.zeros(1)}))

    def test_the_model_is_left_as_it_was(self, tmp_path):
        model, before = net(1), net(1).state_dict()
        with pytest.raises(CheckpointError):
            loaded(saved(tmp_path, STATE | {"4.weight": torch.zeros(3, 65)}), model)
        assert same(model, before)

    @pytest.mark.parametrize("name", ["0.weight", "4.bias", "1.running_var"])
    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_numbers_that_are_not_finite_are_named(self, tmp_path, name, value):
        broken = STATE[name].clone()
        broken.view(-1)[1] = value
        with pytest.raises(CheckpointError, match=f"{name} holds NaN or infinity"):
            loaded(saved(tmp_path, STATE | {name: broken}))

    def test_quantised_weights_are_refused(self, tmp_path):
        with pytest.raises(CheckpointError, match=r"4\.weight.*torch\.int8"):
            loaded(saved(tmp_path, STATE | {"4.weight": torch.zeros(3, 64, dtype=torch.int8)}))


class Payload:
    """What an attacker would pickle: on loading it writes a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


class TestPickles:
    @pytest.mark.parametrize("zipped", [True, False, None], ids=["zip", "legacy", "bare pickle"])
    @pytest.mark.parametrize("inside", [lambda p: p, lambda p: {**STATE, "0.weight": p}, lambda p: {"args": p}])
    @pytest.mark.parametrize("name", ["model.pt", "model.pkl", "model.safetensors"])
    def test_a_payload_is_refused_and_not_run(self, tmp_path, zipped, inside, name):
        trace, path = tmp_path / "it-ran", tmp_path / name
        held = inside(Payload(trace))
        if zipped is None:
            path.write_bytes(pickle.dumps(held))
        else:
            torch.save(held, path, _use_new_zipfile_serialization=zipped)
        with pytest.raises(CheckpointError):
            read_weights(path)
        assert not trace.exists()
        if name != "model.safetensors":
            if zipped is None:
                pickle.loads(path.read_bytes())
            else:
                torch.load(path, weights_only=False)
            assert trace.exists()  # control: the payload works

    @pytest.mark.parametrize(
        "held", [net, lambda: {"model": net()}, lambda: nn.Linear(2, 2)], ids=["module", "inside", "linear"]
    )
    def test_a_pickled_module_is_refused_with_the_safe_way(self, tmp_path, held):
        with pytest.raises(CheckpointError) as caught:
            read_weights(saved(tmp_path, held()))
        assert "is a pickle of more than tensors" in str(caught.value)
        assert "safetensors.torch.save_file(model.state_dict()" in str(caught.value)


class TestWhatIsNoWeights:
    def test_a_file_that_is_missing(self, tmp_path):
        with pytest.raises(CheckpointError, match=r"none\.safetensors does not exist"):
            read_weights(tmp_path / "none.safetensors")

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"\n",
            b"epoch,loss\n1,0.5\n",
            b"hello world, these are no weights\n",
            b"\x89HDF\r\n\x1a\n" + bytes(99),
            bytes(999),
        ],
        ids=["empty", "newline", "csv", "text", "hdf5", "zeros"],
    )
    @pytest.mark.parametrize("name", ["model.pt", "model.safetensors"])
    def test_other_files_are_said_to_be_no_weights_and_not_called_dangerous(self, tmp_path, content, name):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match="read"):
            read_weights(path)

    @pytest.mark.parametrize("share", [0.01, 0.3, 0.7, 0.99])
    @pytest.mark.parametrize("name", ["model.pt", "legacy.pt", "model.safetensors"])
    def test_a_file_that_was_cut_off(self, tmp_path, share, name):
        path = tmp_path / name
        if name == "model.safetensors":
            safetensors.torch.save_file(STATE, path)
        else:
            saved(tmp_path, STATE, name, _use_new_zipfile_serialization=name == "model.pt")
        data = path.read_bytes()
        path.write_bytes(data[: int(share * len(data))])
        with pytest.raises(CheckpointError, match="read"):
            read_weights(path)

    def test_a_flipped_bit_in_a_checkpoint_of_this_package_is_told(self, tmp_path):
        path = tmp_path / "checkpoint.safetensors"
        write_checkpoint(path, STATE, {"recipe": "r"})
        assert same(loaded(path)[0])
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
        with pytest.raises(CheckpointError, match=r"checkpoint\.safetensors.*expected weights of checksum"):
            read_weights(path)

    def test_a_file_with_flipped_bytes_raises_nothing_else(self, tmp_path):
        data, path, refused = saved(tmp_path, STATE).read_bytes(), tmp_path / "flipped.pt", 0
        choose = torch.Generator().manual_seed(0)
        for _ in range(60):
            broken = bytearray(data)
            for at in torch.randint(len(data), (4,), generator=choose).tolist():
                broken[at] ^= 0x55
            path.write_bytes(broken)
            try:
                loaded(path)
            except CheckpointError:
                refused += 1
        assert refused > 20

    @pytest.mark.parametrize(
        ("held", "says"),
        [
            ({}, "state_dict"),
            ({"epoch": 3, "lr": 0.1}, "state_dict"),
            ({"state_dict": {}}, "state_dict"),
            ([torch.zeros(2)], "state_dict"),
            (torch.zeros(2), "Tensor.*state_dict"),
            ({0: torch.zeros(2)}, "0.*state_dict"),
            ({"model": {"epoch": 1}}, "state_dict"),
            ({"0.weight": torch.zeros(1), "lr": 0.1}, "dict of 0.weight, lr and no state_dict .*; 'lr' is none"),
            ({"state_dict": {"w": torch.zeros(1), "_extra": None}, "epoch": 1}, "; '_extra' is none"),
        ],
        ids=str,
    )
    def test_a_file_without_named_tensors(self, tmp_path, held, says):
        with pytest.raises(CheckpointError, match=says):
            read_weights(saved(tmp_path, held))

    def test_safetensors_without_tensors_lists_all_that_is_missing(self, tmp_path):
        safetensors.torch.save_file({}, tmp_path / "none.safetensors")
        with pytest.raises(CheckpointError, match=r"0\.weight.*0\.bias.*1\.weight"):
            loaded(tmp_path / "none.safetensors")


@pytest.mark.parametrize("run", ["sgd-seed0", "m-rwp-seed1"])
def test_a_checkpoint_of_compare_reproduces_its_digital_accuracy_exactly(finished_comparison, run):
    spec = load_spec(finished_comparison / "spec.toml")
    data = load_data(spec.data, data_seed=spec.data_seed, folder=finished_comparison)
    model, notes = loaded(
        finished_comparison / "runs" / run / "checkpoint.safetensors", build_model(spec.model, data, seed=9)
    )
    found = measure(model.eval(), split_batches(data.test, 500))
    table = pd.read_csv(finished_comparison / "evaluations.csv")
    method, _, seed = run.partition("-seed")
    row = table[(table["model"] == method) & (table["train_seed"] == int(seed)) & (table["target"] == "digital")].iloc[
        0
    ]
    assert (found.value, found.n) == (row["accuracy"], row["n"])
    assert found.loss == pytest.approx(row["loss"], rel=1e-6)
    assert found.value > 30.0
    assert notes == ()
