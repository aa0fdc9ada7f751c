"""The page of an evaluation names only what it used, and captions say only what is drawn."""

import pytest
from support.evaluation_cases import DAY_S, evaluation_inputs, run, write_images, write_weights

from aimc_robust.data.evaluation_images import load_evaluation_images
from aimc_robust.experiments.results.evaluation import EvaluationResults
from aimc_robust.report.evaluation import figures
from aimc_robust.report.evaluation.content import gather
from aimc_robust.report.evaluation.reproduction import reproduction
from aimc_robust.report.evaluation.sections import estimates


@pytest.fixture
def content(tmp_path):
    """The content of an evaluation without rows."""

    def make(devices, *, times_s=(0.0,), settings=()):
        images = load_evaluation_images(f"npz:{write_images(tmp_path / 'images.npz')}")
        weights = str(write_weights(tmp_path / "exact.safetensors"))
        spec, _ = evaluation_inputs([weights], images, devices=devices, times_s=times_s, settings=settings)
        return gather(EvaluationResults(tmp_path / "results", spec))

    return make


def test_the_terms_explain_the_names_of_compensated_targets(tmp_path, stub_figures):
    images = load_evaluation_images(f"npz:{write_images(tmp_path / 'images.npz')}")
    weights = str(write_weights(tmp_path / "exact.safetensors"))
    for settings, count in (["compensation=drift"], 1), ([], 0):
        spec, models = evaluation_inputs([weights], images, devices=["sonos-agrawal2022"], settings=settings, chips=2)
        results = run(tmp_path / str(count), spec, models, images)
        (terms,) = [block for block in estimates(gather(results)).blocks if getattr(block, "title", "") == "Terms"]
        assert sum(item.startswith("**-drift** after the name of another target") for item in terms.items) == count


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ([], ""),
        (["dac.bits=8", "adc.bits=8"], "Converter ranges come from test images, without their labels. "),
        (["compensation=['batchnorm']"], "BatchNorm statistics on the chip come from test images, without their "),
        (["adc.bits=8", "compensation=['batchnorm']"], "Converter ranges and BatchNorm statistics on the chip come "),
    ],
    ids=["neither", "converters", "batchnorm", "both"],
)
def test_converters_and_batchnorm_are_named_where_they_were_used(content, settings, sentence):
    how = reproduction(content(["sonos-agrawal2022"], settings=settings)).blocks[0]
    assert how.startswith(f"Normalization of inputs: as stored. {sentence}")
    assert how.count(" come from ") == bool(sentence)
    assert "Root of the chips' random draws" in how


def test_a_caption_of_yields_says_what_is_drawn(content, monkeypatch):
    aged = content(["rram-wan2022-drift"], times_s=(0.0, DAY_S))
    plain = content(["sonos-agrawal2022"])
    share = "Share of the chips of each model and device that reach a value of the accuracy"
    for curves, bands in ((4, " Bands are exact 95 % intervals."), (5, "")):
        monkeypatch.setattr(figures, "_yield_estimates", lambda _, curves=curves: dict.fromkeys(range(curves)))
        assert figures.yields_caption(aged) == f"{share}, at the last time of the device.{bands}"
        assert figures.yields_caption(plain) == f"{share}.{bands}"
