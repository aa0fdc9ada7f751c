"""Whatever a spec, a card, a CSV file, --set or --times holds: an answer, or one sentence that says what is wrong.

`HYPOTHESIS_PROFILE=fuzz pytest tests/test_hostile_input.py` tries 1500 inputs of each kind, new ones at every run.
"""

import math
import warnings

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.hostile import LEAVES, NUMBERS, TEXTS, as_text, disturbed
from torch import nn

import aimc_robust as ar
from aimc_robust.data.loading import load_data
from aimc_robust.data.spec import DataSpec
from aimc_robust.devices.library import card_names, load_card
from aimc_robust.errors import MAX_LENGTH, AimcError
from aimc_robust.experiments.spec.loading import load_spec, spec_from_dict
from aimc_robust.experiments.spec.task import TaskEntry
from aimc_robust.fitting.measurements import read_measurements
from aimc_robust.io.toml import parse_settings, parse_value
from aimc_robust.targets.command_line import parse_times

CARDS = [load_card(name).model_dump(mode="json", exclude_none=True) for name in card_names()]
SPEC = {
    "name": "hostile",
    "train_seeds": [0],
    "chips": 2,
    "targets": [
        "digital",
        "gaussian-0.05",
        {"device": "rram-wan2022", "window": [1.0, 20.0], "dac": {"bits": 8}, "adc": {"bits": 6, "range": [-1.0, 1.0]}},
        {"name": "sliced", "device": CARDS[0], "mapping": {"weight_bits": 8, "slices": 2}, "stuck": [0.1, 0.1]},
        {"device": "sonos-agrawal2022", "time_s": 3600.0, "compensation": ["drift"], "error_scale": 0.5},
        {"name": "laplace", "noise": "laplace", "b": 0.1, "matched_std": True, "split": "training"},
        {"name": "radius", "noise": "gaussian", "radius": 0.5, "selected_at": 0.1},
        {"name": "ascent", "noise": "ascent", "radius": 0.5},
    ],
    "landscapes": [{"name": "plane", "points": 3, "span": 0.5, "selected_at": 0.0}],
    "data": {"name": "digits", "augmentation": {"crop": 1, "flip": True}},
    "model": {"name": "small-cnn", "options": {"channels": 4}},
    "training": {"epochs": 1, "batch_size": 8, "early_stopping": {"sigma": [0.0, 0.1]}, "clip_norm": 1.0},
    "methods": {
        "sgd": {},
        "sam": {"rho": 0.1, "m": 4, "ramp": {"shape": "linear", "updates": 3, "run": 9}},
        "rwp": {"sigma": 0.1, "draws": 2, "ramp": "constant", "training": {"epochs": 2}},
        "device": {"kind": "m-rwp", "noise": {"device": "rram-milo2021"}, "lam": 0.3, "data": {"classes": 3}},
        "asam": {"rho": 1.0, "eta": 0.1, "model": {"name": "resnet9"}},
    },
    "diagnostics": {"sigmas": [0.1], "images": 8},
}
TABLE_SPEC = {
    "name": "hostile-table",
    "train_seeds": [0],
    "targets": ["digital"],
    "task": {"kind": "regression", "metric": "mae"},
    "data": {"name": "csv:table.csv", "labels": ["a", "b"], "test_share": 0.2},
    "model": {"name": "mlp", "options": {"hidden": [8]}},
    "training": {"epochs": 1},
    "methods": {"sgd": {}, "of-function": {"kind": "sgd", "data": {"name": "package.module:data", "labels": []}}},
}
OWN_TASK_SPEC = TABLE_SPEC | {"task": {"kind": "package.module:task", "options": {"a": 1}}, "metrics": ["a.b:c"]}
TASKS = [
    {"kind": "classification", "ignore_index": -1},
    {"kind": "language-modelling", "shift": False},
    {"kind": "model-score", "score": "a.b:c", "metric": "wer", "better": "lower", "unit": "%", "bounds": [0.0, "inf"]},
    {"kind": "package.module:task", "options": {"a": 1}},
]
SPEC["targets"] = [{**t, "selected_at": 0.1} if isinstance(t, dict) else t for t in SPEC["targets"]]
NUMBER_TEXTS = NUMBERS.map(as_text) | TEXTS
hostile = settings(suppress_health_check=list(HealthCheck), deadline=None)


def refused(function, *arguments, **options):
    """What the function returns, or None where it refuses in one short sentence; any other exception fails a test."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return function(*arguments, **options)
        except AimcError as error:
            told = str(error)
    assert 0 < len(told) < 30 * MAX_LENGTH
    return None


def test_the_undisturbed_specs_are_valid():
    assert len(spec_from_dict(SPEC).build_targets()) == 9
    assert spec_from_dict(TABLE_SPEC).task.build().primary.name == "mae"
    assert spec_from_dict(OWN_TASK_SPEC).task.code == "package.module:task"
    for table in TASKS:
        assert parse_value(table, TaskEntry, source="task").kind == table["kind"]


@hostile
@given(disturbed([SPEC, TABLE_SPEC, OWN_TASK_SPEC]))
def test_a_spec(values):
    spec = refused(spec_from_dict, values)
    if spec is not None:
        again = spec_from_dict(spec.model_dump(mode="json"))
        assert again.identity() == spec.identity()
        assert [spec.config_of(label) for label in spec.labels]
        assert [spec.recipe(label, 0) for label in spec.labels]


@hostile
@given(disturbed(TASKS))
def test_a_task(values):
    table = refused(parse_value, values, TaskEntry, source="task")
    if table is not None:
        assert parse_value(table.model_dump(), TaskEntry, source="task") == table
        if table.code is None:
            assert table.build().primary.name


@hostile
@given(
    st.lists(st.sampled_from(["a", "b", "y", "split", "", "x"]), min_size=1, max_size=5),
    st.lists(st.lists(NUMBER_TEXTS, min_size=1, max_size=5), max_size=4),
    st.integers(0, 40),
    st.sampled_from([",", ";", "\t"]),
    st.sampled_from(["classification", "regression", "multilabel"]),
)
def test_a_table(tmp_path_factory, header, rows, good, sign, task):
    path = tmp_path_factory.mktemp("hostile") / "table.csv"
    lines = [header, *([str((n + i) % 2) for i in range(len(header))] for n in range(good)), *rows]
    path.write_text("\n".join(sign.join(line) for line in lines), encoding="utf-8", errors="surrogatepass")
    data = refused(load_data, DataSpec(name="csv:table.csv"), data_seed=0, folder=path.parent, task=task)
    assert data is None or bool(data.training[0].isfinite().all() & data.test[0].isfinite().all())


@hostile
@given(st.lists(st.tuples(TEXTS, LEAVES), min_size=1, max_size=3), st.booleans())
def test_a_spec_as_text(tmp_path_factory, lines, is_nested):
    path = tmp_path_factory.mktemp("hostile") / "spec.toml"
    text = "\n".join(f"{key} = {as_text(value)}" for key, value in lines) + ("\na = " + "[" * 2000 if is_nested else "")
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    assert refused(load_spec, path) is None  # a few random lines are no spec


@hostile
@given(disturbed(CARDS), st.sampled_from([0.0, 1.0, 3600.0, 1e9]))
def test_a_card_gives_finite_weights_or_says_that_it_cannot(card, time_s):
    crossbar = refused(ar.Crossbar, card)
    if crossbar is None:
        return
    torch.manual_seed(0)
    on_chip = refused(ar.program, nn.Sequential(nn.Linear(5, 3)), crossbar, chip=1, time_s=time_s)
    if on_chip is not None:
        assert torch.isfinite(on_chip(torch.ones(2, 5))).all()


@hostile
@given(st.sampled_from(["gaussian", "laplace"]), NUMBERS, st.sampled_from(["filter_max", "filter_norm", "absolute"]))
def test_a_noise_gives_finite_weights_or_says_that_it_cannot(kind, strength, scale):
    noise = refused(ar.Gaussian if kind == "gaussian" else ar.Laplace, strength, scale)
    if noise is not None:
        data = [(torch.ones(2, 5), torch.tensor([0, 1]))]
        found = refused(ar.evaluate, nn.Sequential(nn.Linear(5, 3)), data, noise, chips=2)
        assert found is None or math.isfinite(found.mean)


@hostile
@given(
    st.lists(st.sampled_from(["target", "measured", "time_s", "device", "x", ""]), min_size=1, max_size=5),
    st.lists(st.lists(NUMBER_TEXTS, min_size=1, max_size=5), max_size=4),
    st.integers(0, 40),
    st.sampled_from([",", ";", "\t"]),
)
def test_a_csv_file(tmp_path_factory, header, rows, good, sign):
    path = tmp_path_factory.mktemp("hostile") / "measurements.csv"
    lines = [header, *([str(10.0 + n % 3 + 0.01 * i) for i in range(len(header))] for n in range(good)), *rows]
    path.write_text("\n".join(sign.join(line) for line in lines), encoding="utf-8", errors="surrogatepass")
    found = refused(read_measurements, path)
    assert found is None or bool((abs(found.measured) < float("inf")).all())


@hostile
@given(st.one_of(TEXTS, st.tuples(TEXTS, LEAVES).map(lambda pair: f"{pair[0]}={as_text(pair[1])}")))
def test_a_setting(text):
    parsed = refused(parse_settings, [text])
    if parsed is not None:
        assert parsed
        refused(spec_from_dict, SPEC | parsed)


@hostile
@given(
    st.lists(st.one_of(NUMBER_TEXTS, st.sampled_from(["1h", "5d", "1e9y", "3 min", "1e-5s"])), max_size=3).map(",".join)
)
def test_times(text):
    times_s = refused(parse_times, text)
    assert times_s is None or (times_s == sorted(times_s) and all(0 <= time_s < float("inf") for time_s in times_s))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("chips = " + "9" * 5000, "digits"),
        ("chips = " + "9" * 400, "64 bits"),
        ("chips = 1e400", "chips: expected a finite number"),
        ("a = " + "[" * 1000 + "]" * 1000, "nested"),
        ("chips = 2000-01-01", "chips: expected a text, number"),
    ],
    ids=["5000 digits", "400 digits", "beyond float", "1000 levels", "a date"],
)
def test_values_that_toml_has_and_we_do_not_are_refused_by_key(tmp_path, text, told):
    path = tmp_path / "spec.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(AimcError, match=told) as refusal:
        load_spec(path)
    assert str(path) in str(refusal.value)
    assert len(str(refusal.value)) < 400


@pytest.mark.parametrize("reference", [5e-324, 1e-29])
def test_a_tiny_reference_is_refused_by_its_key(reference):
    card = load_card("rram-wan2022").model_dump(mode="json", exclude_none=True)
    card["programming"]["reference"] = reference
    with pytest.raises(AimcError, match=r"device card: programming.*reference"):
        load_card(card)


def test_states_that_are_nan_are_an_error_that_names_device_layer_and_time():
    card = load_card("rram-wan2022").model_dump(mode="json", exclude_none=True)
    card["programming"]["coefficients"] = [1e30] * 12
    model = nn.Sequential(nn.Linear(5, 3))
    with pytest.raises(AimcError, match="rram-wan2022: at time_s = 0 s the layer '0' has NaN or infinite states"):
        ar.program(model, ar.Crossbar(card), chip=0)
