"""Counts of states and values in ranges of an evaluation are those of the functions that a user would call."""

import numpy as np
import pytest
import torch

from aimc_robust import converter_signals, device_states
from aimc_robust.experiments.evaluate import device_pictures
from aimc_robust.experiments.execution.target_runner import TargetRunner


@pytest.fixture
def targets(finished_evaluation):
    return {target.name: target for target in finished_evaluation.question.build_targets()}


def test_every_device_of_the_first_model_is_counted_where_it_is(finished_evaluation, targets):
    counts = finished_evaluation.results.explanation("state_counts")
    assert list(counts["target"].unique()) == ["rram-milo2021", "wan"]  # no noise, no later time
    assert set(counts["model"]) == {"exact"}
    rows = counts[counts["target"] == "wan"]
    edges = [*rows["low"], rows["high"].iloc[-1]]
    for column, name in (("first", "wan"), ("last", "wan-1d")):
        condition, time_s = targets[name].condition, targets[name].time_s
        states = device_states(
            finished_evaluation.models[0], condition, time_s=time_s, example=finished_evaluation.images.example
        )
        values = torch.cat([states.programmed[layer].flatten() for layer in states.programmed]).numpy()
        assert rows[column].sum() == len(values)
        np.testing.assert_array_equal(rows[column], np.histogram(values, edges)[0])
    assert (rows["window_low"].iloc[0], rows["window_high"].iloc[0]) == states.windows["0"]


def test_values_are_those_of_the_test_data_in_the_calibrated_ranges(finished_evaluation, targets):
    results = finished_evaluation.results
    found = results.explanation("signals")
    assert set(found["target"]) == {"wan"}  # the other device has no converters
    ranges = results.ranges(results.trials[0], "wan")
    batch = next(iter(finished_evaluation.batches))
    expected = converter_signals(finished_evaluation.models[0], targets["wan"].condition, [batch], ranges)
    np.testing.assert_allclose(found["q25"], expected["q25"])
    np.testing.assert_allclose(found["outside"], expected["outside"])


def test_what_is_recorded_is_not_computed_again_and_large_networks_are_left_out(finished_evaluation, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError

    runner = TargetRunner(
        results=finished_evaluation.results,
        trial=finished_evaluation.results.trials[0],
        model=finished_evaluation.models[0],
        data=finished_evaluation.images,
    )
    monkeypatch.setattr(device_pictures, "_state_counts", refuse)
    monkeypatch.setattr(device_pictures, "_targets_of", lambda _, name: set() if name == "state_counts" else {"wan"})
    monkeypatch.setattr(device_pictures, "_signals", lambda *_: [])
    with pytest.raises(AssertionError):
        device_pictures.record_device_pictures(runner)
    monkeypatch.setattr(device_pictures, "MAX_WEIGHTS", 10)
    device_pictures.record_device_pictures(runner)


@pytest.mark.drawn_figures
def test_the_page_draws_both(finished_evaluation, tmp_path):
    from aimc_robust.report.evaluation.content import gather
    from aimc_robust.report.evaluation.device_pictures import device_pictures as pictures

    content = gather(finished_evaluation.results)
    names = {group[0].name: [figure.draw().name for figure in pictures(content, group[0])] for group in content.devices}
    assert names["rram-milo2021"] == ["states-rram-milo2021"]
    assert names["wan"] == ["states-wan", "ranges-input-wan", "ranges-current-wan"]
