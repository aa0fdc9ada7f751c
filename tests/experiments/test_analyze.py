"""`analyze` adds sharpness and spectra of trained models to a comparison, as the functions of the package give them."""

import numpy as np
import pytest
import scipy.stats
import torch
from support.command_line import invoke

from aimc_robust.analysis.hessian_spectrum import hessian_spectrum
from aimc_robust.analysis.sharpness import ascent_sharpness, average_sharpness
from aimc_robust.data.loading import load_data
from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.experiments.results.trial import Trial
from aimc_robust.experiments.spec.loading import load_spec
from aimc_robust.io.atomic import read_rows
from aimc_robust.models.registry import build_model
from aimc_robust.noise.distributions import Gaussian
from aimc_robust.training.resumption import load_selection

OPTIONS = ("--split", "test", "--steps", 6, "--eigenvalues", 2, "--m", 60, "--sigma", 0.1, "--rho", 0.2)


def test_every_trained_model_gets_a_row_once_and_the_report_a_section(write_spec, comparison_copy):
    spec_file = write_spec()
    done = invoke("analyze", spec_file, "--out", comparison_copy, *OPTIONS)
    assert done.returncode == 0, done.stderr
    results = ComparisonResults.open(comparison_copy)
    assert [str(trial) in done.stdout for trial in results.trials] == [True] * 4
    spec, trial = load_spec(spec_file), results.trials[1]
    data = load_data(spec.data, data_seed=spec.data_seed, folder=spec_file.parent)
    model = build_model(spec.model, data, seed=0)
    load_selection(results.run_folder(trial), model, spec.config().selections, 0)
    model.eval()
    row, loss = results.analyses(trial)["test"], torch.nn.CrossEntropyLoss()
    spectrum = hessian_spectrum(model, loss, data.test, eigenvalues=2, steps=6)
    assert row["eigenvalues"] == pytest.approx(spectrum.eigenvalues, rel=1e-4)
    assert row["ascent_sharpness"] == pytest.approx(
        ascent_sharpness(model, loss, data.test, rho=0.2, m=60, scope="all"), rel=1e-5
    )
    assert row["average_sharpness"] == pytest.approx(
        average_sharpness(model, loss, data.test, Gaussian(0.1), m=60), rel=1e-5
    )
    assert f"{row['eigenvalues'][0]:.4g}" in done.stdout

    report = (comparison_copy / "report.md").read_text()
    assert "Sharpness and curvature" in report
    assert "6 Lanczos steps from 1 start vectors" in report
    largest = [
        [results.analyses(Trial(label, seed))["test"]["eigenvalues"][0] for seed in (0, 1)]
        for label in ("m-rwp", "sgd")
    ]
    logarithms = np.log(np.divide(*largest))
    interval = scipy.stats.ttest_1samp(logarithms, 0.0).confidence_interval(0.95)
    ratio, low, high = np.exp([np.mean(logarithms), *interval])
    assert f"| {ratio:.2f} [{low:.2f}, {high:.2f}] |" in report
    head, *lines = (comparison_copy / "tables" / "curvature-test.csv").read_text().splitlines()
    assert head.split(",")[:2] == ["method", "train_seed"]
    assert [line.split(",")[0] for line in lines] == ["sgd", "sgd", "m-rwp", "m-rwp"]

    again = invoke("analyze", spec_file, "--out", comparison_copy, *OPTIONS)
    assert again.stdout == done.stdout
    assert len(read_rows(results.run_folder(trial) / "analysis.jsonl")) == 1


def test_without_trained_models_it_says_what_to_do(write_spec, tmp_path):
    done = invoke("analyze", write_spec(), "--out", tmp_path / "none")
    assert done.returncode != 0
    assert "compare" in done.stderr
