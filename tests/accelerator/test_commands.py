"""What `evaluate` and `recommend` measure on an accelerator: the CPU's numbers, and models that are given back."""

import pandas as pd
import pytest
from support.evaluation_cases import DAY_S, evaluation_inputs, loaded, write_images, write_weights

from aimc_robust.data.loading import load_data
from aimc_robust.errors import InputError
from aimc_robust.experiments.evaluate.run import evaluate_models
from aimc_robust.experiments.recommend.digital_layers import digital_layers
from aimc_robust.experiments.recommend.measurement import measure_device
from aimc_robust.experiments.spec.loading import load_spec
from aimc_robust.models.registry import build_model
from aimc_robust.targets.build import build_target
from aimc_robust.training.fabric import CPU, Machine

pytestmark = pytest.mark.gpu

DEVICES = (  # without read noise, which is drawn on the device
    '{name = "converters", device = "pcm-nandakumar2019", read_noise = false, adc = {bits = 6}}',
    "gaussian-0.2",
)


@pytest.fixture
def shown(tmp_path):
    return loaded(write_images(tmp_path / "images.npz"))


@pytest.mark.slow
def test_rows_and_explanations_of_an_evaluation_are_those_of_the_cpu(tmp_path, shown, accelerator):
    weights = write_weights(tmp_path / "1.safetensors", away=0.1, seed=1)
    question, models = evaluation_inputs([f"net={weights}"], shown, devices=DEVICES, times_s=(DAY_S,), chips=2)
    tables = []
    for machine in (CPU, Machine()):
        results = evaluate_models(
            question,
            models,
            shown,
            tmp_path / machine.device.type,
            machine=machine,
            attribution_chips=2,
            prediction_chips=2,
        )
        explained = [results.explanation(name) for name in ("attribution", "prediction", "validity")]
        tables.append([results.table(), *explained])
        assert {parameter.device.type for model in models for parameter in model.parameters()} == {"cpu"}
    assert Machine().device.type == accelerator.type
    for found, expected in zip(tables[1], tables[0], strict=True):
        numbers = expected.select_dtypes("number").columns.drop("cost", errors="ignore")
        pd.testing.assert_frame_equal(found[numbers], expected[numbers], rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_a_device_is_measured_and_layers_are_chosen_as_on_the_cpu(tmp_path, tiny, accelerator):
    (tmp_path / "spec.toml").write_text(tiny)
    spec = load_spec(tmp_path / "spec.toml")
    data, task = load_data(spec.data, data_seed=0, folder=tmp_path), spec.task.build()
    device = build_target({"name": "converters", "device": "rram-wan2022", "adc": {"bits": 6}})
    found = []
    for place in (CPU, Machine()):
        (folder := tmp_path / place.device.type).mkdir()
        model = build_model(spec.model, data, seed=0, task=task).to(place.device).eval()
        measured = measure_device(model, data, device, task, chip_seed=0, jobs=None)
        kept = digital_layers(
            folder,
            {},
            lambda model=model: model,
            data,
            device,
            task,
            required=10.0,
            chip_seed=0,
            jobs=None,
            on_status=lambda text: None,
        )
        found.append((measured, kept))
    (cpu, kept), (measured, kept_there) = found
    assert [kept_there["layers"], kept_there["sentence"]] == [kept["layers"], kept["sentence"]]
    for name in ("sigma", "device", "digital", "rms"):
        assert measured[name] == pytest.approx(cpu[name], rel=1e-3)
    layers = [pd.DataFrame(values["layers"]).select_dtypes("number") for values in (measured, cpu)]
    pd.testing.assert_frame_equal(*layers, rtol=1e-3)


def test_processes_are_refused_where_the_device_is_no_cpu(tmp_path, shown, accelerator):
    question, models = evaluation_inputs([str(write_weights(tmp_path / "w.safetensors"))], shown, chips=2)
    with pytest.raises(InputError, match=f"jobs are processes on the CPU, but the accelerator is {accelerator.type}"):
        evaluate_models(question, models, shown, tmp_path / "out", jobs=2, machine=Machine())
    assert not (tmp_path / "out").exists()
