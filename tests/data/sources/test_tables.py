"""Tables: numbers as inputs, columns as labels, and a sentence for what is no such table."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from aimc_robust.data.evaluation_images import load_evaluation_images
from aimc_robust.data.loading import load_data
from aimc_robust.data.spec import DataSpec
from aimc_robust.errors import DataError, InputError, MissingDependencyError


def frame(rows=40):
    """Two inputs, a constant one, a number to predict, and two classes."""
    generator = np.random.default_rng(0)
    x = generator.normal(5.0, 3.0, rows)
    return pd.DataFrame(
        {
            "x": x,
            "count": generator.integers(0, 9, rows),
            "constant": 2.5,
            "y": 3.0 * x + 1.0,
            "kind": np.where(np.arange(rows) % 3 == 0, "red", "blue"),
        }
    )


def load(folder, table, task=None, seed=0, **keys):
    if isinstance(table, pd.DataFrame):
        table.to_csv(folder / "table.csv", index=False)
    else:
        (folder / "table.csv").write_text(table, encoding="utf-8")
    return load_data(DataSpec(name="csv:table.csv", **keys), data_seed=seed, folder=folder, task=task)


def test_inputs_are_normalized_by_the_training_rows_and_labels_are_not(tmp_path):
    table = frame().drop(columns="kind")
    data = load(tmp_path, table, "regression")
    assert (data.shape, data.outputs, data.count) == ((3,), 1, 13)
    assert data.normalization == (
        "each column by the mean and standard deviation of the 23 training examples that `compare` trains on (4 more "
        "are held out for validation)"
    )
    inputs, labels = data.training
    assert inputs.dtype == labels.dtype == torch.float32
    rows = table["y"].to_numpy(np.float32)
    chosen = table.iloc[[int(np.flatnonzero(rows == float(label))[0]) for label in labels]][["x", "count"]]
    expected = (chosen - chosen.mean()) / chosen.std(ddof=0)
    np.testing.assert_allclose(inputs[:, :2], expected, atol=1e-5)
    assert torch.equal(inputs[:, 2], torch.zeros(len(labels)))  # a constant column has no spread to divide by
    everything = torch.cat([part[1] for part in (data.training, data.validation, data.test)])
    assert sorted(everything.tolist()) == sorted(rows.tolist())


def test_texts_are_classes_in_sorted_order_and_named(tmp_path):
    table = frame().drop(columns="y")
    data = load(tmp_path, table)
    assert data.outputs == 2
    assert "0 = blue, 1 = red" in " ".join(data.notes)
    everything = torch.cat([part[1] for part in (data.training, data.validation, data.test)])
    assert int(everything.sum()) == int((table["kind"] == "red").sum())


@pytest.mark.parametrize(
    ("task", "labels", "outputs", "dtype"),
    [
        ("regression", ["y", "count"], 2, torch.float32),
        ("multilabel", ["a", "b", "c"], 3, torch.int64),
        ("regression", ["a"], 1, torch.int64),
        ("classification", ["a"], 2, torch.int64),
    ],
)
def test_labels_are_the_columns_that_are_named(task, labels, outputs, dtype, tmp_path):
    table = frame().drop(columns="kind").assign(a=lambda t: t["count"] % 2, b=1, c=0)
    data = load(tmp_path, table, task, labels=labels)
    assert data.shape == (table.shape[1] - len(labels),)
    assert (data.outputs, data.training[1].dtype) == (outputs, dtype)
    assert data.training[1].shape[1:] == (() if len(labels) == 1 else (len(labels),))


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_separators_give_the_same_data(separator, tmp_path):
    table = frame().drop(columns="y")
    assert load(tmp_path, table.to_csv(index=False, sep=separator)).id == load(tmp_path, table).id


def test_parquet_gives_the_same_data(tmp_path):
    pytest.importorskip("pyarrow")
    table = frame().drop(columns="y")
    table.to_parquet(tmp_path / "table.parquet")
    found = load_data(DataSpec(name="parquet:table.parquet"), data_seed=0, folder=tmp_path)
    assert found.id == load(tmp_path, table).id


def test_parquet_without_its_package_names_the_command(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "a.parquet").write_bytes(b"")
    with pytest.raises(MissingDependencyError, match=r"pyarrow.*pip install 'aimc-robust\[tables\]'"):
        load_data(DataSpec(name="parquet:a.parquet"), data_seed=0, folder=tmp_path)


def test_a_column_split_says_which_rows_are_which(tmp_path):
    table = frame().drop(columns="kind")
    table["split"] = ["train"] * 25 + ["validation"] * 5 + ["test"] * 10
    for seed in (0, 1):
        data = load(tmp_path, table, "regression", seed=seed)
        assert data.shape == (3,)
        for part, rows in ((data.training, slice(25)), (data.validation, slice(25, 30)), (data.test, slice(30, 40))):
            assert part[1].tolist() == table["y"][rows].astype(np.float32).tolist()
    assert load(tmp_path, table, "regression", validation="test").validation[1].tolist() == data.test[1].tolist()


def test_the_seed_decides_the_split_and_shares_its_size(tmp_path):
    table = frame().drop(columns="kind")
    one, same, other = (load(tmp_path, table, "regression", seed=seed) for seed in (0, 0, 1))
    assert one.id == same.id != other.id
    data = load(tmp_path, table, "regression", test_share=0.5, validation_share=0.25, train_images=16)
    assert [len(part[1]) for part in (data.training, data.validation, data.test)] == [12, 4, 20]


HEADER = "a,b,y\n"
FAULTS = {
    "empty": ("", ["holds no rows"]),
    "a header alone": (HEADER, ["holds no rows"]),
    "a long first row": (HEADER + "1,2,3,4\n", ["3 fields", "got 4"]),
    "a long row": (HEADER + "1,2,3\n1,2,3,4\n", ["3 fields", "saw 4"]),
    "a short row": (HEADER + "1,2,0\n3,4\n", ["row 2", "column y", "missing"]),
    "a missing value": (HEADER + "1,2,0\n,2,1\n", ["row 2", "column a", "missing"]),
    "infinity": (HEADER + "1,inf,0\n1,2,1\n", ["row 1", "column b", "infinite"]),
    "beyond float32": (HEADER + "1,1e39,0\n1,2,1\n", ["column b", "float32"]),
    "a text as input": (HEADER + "1,low,0\n1,high,1\n", ["column b", "'low'", "categories as numbers"]),
    "two texts as input": ("a,b,c,y\n" + "x,low,1,0\n", ["columns a, b"]),
    "a repeated name": ("a,a,y\n" + "1,2,0\n", ["'a'", "name"]),
    "no name": ("a,,y\n" + "1,2,0\n", ["''", "name"]),
    "only labels": ("y\n" + "1\n0\n", ["besides the labels y"]),
    "a fraction as class": (HEADER + "1,2,0\n3,4,0.5\n", ["column y", "0.5", "regression"]),
    "a number as class": (HEADER + "1,2,0\n3,4,151\n", ["column y", "151", "regression"]),
    "a negative class": (HEADER + "1,2,0\n3,4,-1\n", ["column y", "-1"]),
    "an unknown split": ("a,y,split\n" + "1,0,train\n2,1,tset\n", ["split", "'tset'"]),
    "no test rows": ("a,y,split\n" + "1,0,train\n2,1,train\n", ["split test"]),
    "no training rows": ("a,y,split\n" + "1,0,test\n2,1,test\n", ["split train", "--normalize none"]),
    "a class without training": ("a,y,split\n" + "1,0,train\n2,1,test\n" * 9, ["class 1", "training"]),
    "one row": (HEADER + "1,2,0\n", ["split train"]),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_no_table_is_refused_by_row_and_column(fault, tmp_path):
    text, words = FAULTS[fault]
    with pytest.raises(DataError) as caught:
        load(tmp_path, text)
    assert [word for word in ["table.csv", *words] if word not in str(caught.value)] == []


@pytest.mark.parametrize(
    ("task", "labels", "words"),
    [
        ("regression", ["kind"], ["column kind", "as labels", "classification"]),
        ("classification", ["count", "kind"], ["one column of classes", "multilabel"]),
        ("regression", ["z"], ["'z'", "Known: constant, count, kind, x, y"]),
        ("regression", ["y", "y"], ["y, y"]),
    ],
)
def test_labels_that_do_not_fit_the_task_are_refused(task, labels, words, tmp_path):
    with pytest.raises(DataError) as caught:
        load(tmp_path, frame(), task, labels=labels)
    assert [word for word in words if word not in str(caught.value)] == []


def test_a_file_that_is_missing_or_binary_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"no table .*gone\.csv"):
        load_data(DataSpec(name="csv:gone.csv"), data_seed=0, folder=tmp_path)
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"binary\.csv cannot be read"):
        load_data(DataSpec(name="csv:binary.csv"), data_seed=0, folder=tmp_path)


def test_an_evaluation_has_the_test_rows_of_the_comparison(tmp_path):
    table = frame().drop(columns="kind")
    data = load(tmp_path, table, "regression", seed=3, test_share=0.4)
    name = f"csv:{tmp_path / 'table.csv'}"
    found = load_evaluation_images(name, task="regression", data_seed=3, settings={"test_share": 0.4})
    assert found.id == data.id
    assert torch.equal(found.test[0], data.test[0])
    few = load_evaluation_images(name, task="regression", images=5)
    assert (few.count, len(few.test[0])) == (5, 5)


def test_a_file_of_test_rows_is_evaluated_as_it_is_stored(tmp_path):
    table = frame().drop(columns="kind")
    load(tmp_path, table, "regression")
    name = f"csv:{tmp_path / 'table.csv'}"
    found = load_evaluation_images(name, task="regression", normalize="none")
    np.testing.assert_array_equal(found.test[0], table[["x", "count", "constant"]].to_numpy(np.float32))
    assert found.training is None
    assert found.calibration_source == "test examples, without their labels"
    with pytest.raises(InputError, match="imagenet"):
        load_evaluation_images(name, task="regression", normalize="imagenet")


@pytest.mark.parametrize(
    ("name", "keys", "word"),
    [
        ("csv:a.csv", {"size": 8}, "size"),
        ("csv:a.csv", {"augmentation": {"flip": True}}, "augmentation"),
        ("module:function", {"mean": [0.5], "std": [0.5]}, "mean, std"),
        ("csv:a.csv", {"options": {"a": 1}}, "options"),
        ("digits", {"labels": ["a"]}, "labels"),
        ("os:system", {}, "standard library"),
    ],
)
def test_keys_of_other_sources_are_refused_by_name(name, keys, word):
    with pytest.raises(ValueError, match=word):
        DataSpec(name=name, **keys)


def test_paths_are_relative_to_the_folder_of_the_spec(tmp_path):
    (tmp_path / "inside").mkdir()
    load(tmp_path / "inside", frame().drop(columns="y"))
    name = str(Path("inside") / "table.csv")
    assert load_data(DataSpec(name=f"csv:{name}"), data_seed=0, folder=tmp_path).outputs == 2
