"""Shards of an index are read if they are what it says; state_dicts are found wherever a file keeps them."""

import json

import pytest
import torch
from safetensors.torch import save_file

from aimc_robust.errors import CheckpointError
from aimc_robust.models.weight_files import read_state_dicts

STATE = {name: torch.full((2, 3), float(i)) for i, name in enumerate(("a.weight", "a.bias", "b.weight"))}
FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


def same(tensors, expected=STATE):
    return tensors.keys() == expected.keys() and all(torch.equal(v, expected[n]) for n, v in tensors.items())


def write_index(folder, weight_map, name="model.safetensors.index.json"):
    (folder / name).write_text(json.dumps({"metadata": {"total_size": 72}, "weight_map": weight_map}))
    return folder / name


@pytest.fixture
def sharded(tmp_path):
    """An index, as Hugging Face writes it, of three tensors in two files."""
    save_file({name: STATE[name] for name in ("a.weight", "b.weight")}, tmp_path / FIRST)
    save_file({"a.bias": STATE["a.bias"]}, tmp_path / SECOND)
    return write_index(tmp_path, {"a.weight": FIRST, "a.bias": SECOND, "b.weight": FIRST})


class TestShards:
    def test_an_index_and_its_folder(self, sharded):
        for path in (sharded, sharded.parent):
            assert same(read_state_dicts(path)[""])

    def test_what_transformers_writes(self, tmp_path):
        transformers = pytest.importorskip("transformers")
        config = transformers.BertConfig(
            hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16, vocab_size=99
        )
        model = transformers.BertModel(config)
        model.save_pretrained(tmp_path, max_shard_size="5KB")
        assert len(list(tmp_path.glob("*.safetensors"))) > 2
        assert same(read_state_dicts(tmp_path)[""], model.state_dict())

    def test_shards_of_torch(self, tmp_path):
        for shard, names in (("m-00001-of-00002.bin", ("a.weight", "a.bias")), ("m-00002-of-00002.bin", ("b.weight",))):
            torch.save({name: STATE[name] for name in names}, tmp_path / shard)
        weight_map = {n: f"m-0000{1 + (n == 'b.weight')}-of-00002.bin" for n in STATE}
        index = write_index(tmp_path, weight_map, "m.bin.index.json")
        assert same(read_state_dicts(index)[""])

    def test_a_missing_shard(self, sharded):
        (sharded.parent / SECOND).unlink()
        with pytest.raises(CheckpointError, match=rf"lists 2 shards; missing in its folder: {SECOND};"):
            read_state_dicts(sharded)

    def test_a_name_in_two_shards(self, sharded):
        save_file({name: STATE[name] for name in ("a.bias", "b.weight")}, sharded.parent / SECOND)
        with pytest.raises(CheckpointError, match=rf"b\.weight is in two shards of .*{FIRST} and {SECOND}"):
            read_state_dicts(sharded)

    def test_a_name_in_another_shard_than_the_index_says(self, sharded):
        write_index(sharded.parent, {"a.weight": SECOND, "a.bias": SECOND, "b.weight": FIRST})
        with pytest.raises(CheckpointError, match=rf"says that a\.weight is in {SECOND}, but it is in {FIRST}"):
            read_state_dicts(sharded)

    def test_a_name_that_no_shard_has(self, sharded):
        save_file({"a.weight": STATE["a.weight"]}, sharded.parent / FIRST)
        with pytest.raises(CheckpointError, match=rf"b\.weight is in {FIRST}, but it is in no shard"):
            read_state_dicts(sharded)

    def test_a_name_that_the_index_does_not_have(self, sharded):
        write_index(sharded.parent, {"a.weight": FIRST, "a.bias": SECOND})
        with pytest.raises(CheckpointError, match=rf"b\.weight is in no shard, but it is in {FIRST}"):
            read_state_dicts(sharded)

    @pytest.mark.parametrize("cut", [0.3, 0.9])
    def test_a_damaged_shard_is_named(self, sharded, cut):
        data = (sharded.parent / SECOND).read_bytes()
        (sharded.parent / SECOND).write_bytes(data[: int(cut * len(data))])
        with pytest.raises(CheckpointError, match=rf"{SECOND} cannot be read"):
            read_state_dicts(sharded)

    def test_a_training_checkpoint_is_no_shard(self, tmp_path):
        torch.save({"model": STATE, "epoch": 1}, tmp_path / "x.bin")
        index = write_index(tmp_path, dict.fromkeys(STATE, "x.bin"))
        with pytest.raises(CheckpointError, match=r"x\.bin is a training checkpoint"):
            read_state_dicts(index)

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("", "Expecting value"),
            ("[1]", "list"),
            ("{}", "weight_map"),
            ('{"weight_map": {}}', "weight_map is empty"),
            ('{"weight_map": ["a"]}', "list"),
            ('{"weight_map": {"a": 3}}', "int"),
            ('{"weight_map": {"a": "../other.safetensors"}}', r"'\.\./other\.safetensors' is not the name of a file"),
            ('{"weight_map": {"a": "/other.safetensors"}}', "is not the name of a file"),
            ('{"weight_map": ' + "[" * 100_000, "recursion|Expecting"),
            ("\udcff", "utf-8"),
        ],
    )
    def test_an_index_that_is_none(self, text, words, tmp_path):
        path = tmp_path / "model.safetensors.index.json"
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
        with pytest.raises(CheckpointError, match=rf"index\.json cannot be read as an index of shards.*({words})"):
            read_state_dicts(path)

    def test_one_shard_alone_leads_to_its_index(self, sharded):
        with pytest.raises(CheckpointError, match=rf"{FIRST} is one of 2 shards.*model\.safetensors\.index\.json"):
            read_state_dicts(sharded.parent / FIRST)
        save_file(STATE, sharded.parent / "whole-00001-of-00001.safetensors")
        assert same(read_state_dicts(sharded.parent / "whole-00001-of-00001.safetensors")[""])


class TestFolders:
    def test_a_single_file(self, tmp_path):
        save_file(STATE, tmp_path / "model.safetensors")
        (tmp_path / "config.json").write_text("{}")
        assert same(read_state_dicts(tmp_path)[""])

    def test_no_file_and_several(self, sharded, tmp_path_factory):
        empty = tmp_path_factory.mktemp("empty")
        with pytest.raises(CheckpointError, match=rf"{empty} holds no \.safetensors file"):
            read_state_dicts(empty)
        save_file(STATE, sharded.parent / "model.safetensors")
        with pytest.raises(CheckpointError, match=r"several weights: model\.safetensors\.index\.json, model\.safet"):
            read_state_dicts(sharded.parent)


class TestKeys:
    def test_each_state_dict_has_a_dotted_key_and_optimizers_none(self, tmp_path):
        held = {
            "model": {"state_dict": STATE, "step": 1},
            "model_ema": STATE,
            "a.b": {"c": STATE},
            "optimizer": {"state": {"w": torch.ones(1)}, "param_groups": []},
            "opt": {"w": torch.ones(1)},
            "adam_optimizer_state": {"w": torch.ones(1)},
            "optimized_model": STATE,
            "states": {0: {"w": torch.ones(1)}},
        }
        torch.save(held, tmp_path / "x.pt")
        found = read_state_dicts(tmp_path / "x.pt")
        assert list(found) == ["model.state_dict", "model_ema", "a.b.c", "optimized_model"]
        assert all(map(same, found.values()))

    def test_nested_in_a_circle_or_deeply(self, tmp_path):
        circle = {"model": STATE}
        circle["self"] = circle
        torch.save(circle, tmp_path / "circle.pt")
        assert list(read_state_dicts(tmp_path / "circle.pt")) == ["model"]
        wide = {"w": torch.ones(1), "n": 3}
        for _ in range(40):
            wide = {"a": wide, "b": wide}  # 2 ** 40 paths
        torch.save(wide, tmp_path / "wide.pt")
        with pytest.raises(CheckpointError, match="no state_dict"):
            read_state_dicts(tmp_path / "wide.pt")
