"""A report section, a metric and a target kind are added as docs/how-to/extend.md says."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from support.command_line import invoke
from support.fixtures.comparison import run_spec

import aimc_robust
from aimc_robust import Gaussian, evaluate
from aimc_robust.data.loading import load_data
from aimc_robust.errors import InputError, ResultsError
from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.experiments.spec.loading import load_spec
from aimc_robust.models.registry import build_model
from aimc_robust.report.comparison import page
from aimc_robust.report.comparison.content import gather
from aimc_robust.report.freshness import report_is_current
from aimc_robust.report.write import write_report
from aimc_robust.tasks.metrics import METRICS

TESTS = Path(__file__).parents[1]
TEXT = (TESTS.parent / "docs" / "how-to" / "extend.md").read_text(encoding="utf-8")


def text_of(title: str) -> str:
    return TEXT.split(f"\n## {title}\n")[1].split("\n## ")[0]


def part(title: str) -> tuple[str, str]:
    """The Python code and the TOML of one part of the page."""
    text = text_of(title)
    return tuple(
        re.search(rf"^```{kind}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)[1] for kind in ("python", "toml")
    )


SECTION, SECTION_SPEC = part("Add a report section")
METRIC, METRIC_SPEC = part("Add a metric")
TARGET = re.search(r"^```python\n(.*?)^```$", text_of("Add a target kind"), re.DOTALL | re.MULTILINE)[1]
(TARGET_IMPORT,), (TARGET_ENTRY,), (TARGET_SPEC,) = (
    re.findall(rf"`({start}[^`]*)`", text_of("Add a target kind")) for start in ("from ", '"pruned"', "targets = ")
)
COMMANDS = """
import json, sys
from typer.testing import CliRunner
from support.fixtures.report import figures_as_stubs
from aimc_robust.cli.app import app
with figures_as_stubs():
    results = [CliRunner().invoke(app, command) for command in json.loads(sys.argv[1])]
print(json.dumps([(result.exit_code, f"{result.output}{result.exception}") for result in results]))
"""
(NAMED,) = tomllib.loads(SECTION_SPEC)["report_sections"]


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Save code as a module in the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    saved = []

    def save(name: str, code: str) -> None:
        (tmp_path / f"{name}.py").write_text(code)
        saved.append(name)

    yield save
    for name in saved:
        sys.modules.pop(name, None)


def check(folder):
    html, markdown = ((folder / f"report.{kind}").read_text() for kind in ("html", "md"))
    estimates = gather(ComparisonResults.open(folder)).estimates
    noisy = {key: estimate.worst for key, estimate in estimates.items() if estimate.chips > 1}
    assert len(noisy) == 4
    for (method, target), worst in noisy.items():
        assert f"| {method} | {target} | {worst.value:.2f}<br>no. {worst.chip} |" in markdown
        assert f'data-method="{method}" data-target="{target}"' in html
    assert "<strong>worst accuracy</strong>" in html
    return html


def test_a_section_that_the_spec_names_comes_first(change_question, module):
    module("my_sections", SECTION)
    folder = change_question(report_sections=[NAMED])
    write_report(folder)
    html = check(folder)
    assert html.index("<h2>Worst chips <") < html.index("<h2>Summary <")
    assert report_is_current(folder)
    module("my_sections", SECTION.replace("Worst chips", "Weakest chips"))
    assert not report_is_current(folder)  # the user's code makes the report too


def test_a_section_of_the_package_is_an_entry_in_the_list(change_question, monkeypatch):
    namespace = {}
    exec(SECTION, namespace)
    monkeypatch.setattr(page, "SECTIONS", [*page.SECTIONS, namespace["worst_chips"]])
    folder = change_question()
    write_report(folder)
    html = check(folder)
    assert html.index("<h2>Worst chips <") > html.index("<h2>How to reproduce <")


def trained_net(folder, spec_file="spec.toml"):
    """The trained network and the test images of sgd-seed0."""
    spec = load_spec(folder.parent / spec_file)
    data = load_data(spec.data, data_seed=spec.data_seed, folder=folder)
    model = build_model(spec.model, data, seed=0).eval()
    model.load_state_dict(load_file(folder / "runs" / "sgd-seed0" / "checkpoint.safetensors"), strict=False)
    return model, data


def worst_class(outputs, labels):
    """What the page's metric says it is, in numpy."""
    right, labels = outputs.argmax(1).numpy() == labels.numpy(), labels.numpy()
    return min(100 * np.mean(right[labels == number]) for number in range(10))


def table_after(markdown, title):
    """The lines of the first table after a heading."""
    return [line for line in markdown.split(f"# {title}\n")[1].split("\n\n")[1].splitlines() if line.startswith("|")]


def test_a_metric_that_the_spec_names_is_measured_on_every_chip_and_shown(write_spec, trained_models, module, tmp_path):
    module("my_metrics", METRIC)
    path = write_spec(('name = "tiny"\n', f'name = "tiny"\n{METRIC_SPEC}'))
    folder = run_spec(path, tmp_path / "out", model_cache=trained_models).results.folder
    write_report(folder)
    rows, summary = pd.read_csv(folder / "evaluations.csv"), pd.read_csv(folder / "summary.csv")
    assert list(rows.columns[-2:]) == list(summary.columns[-2:]) == ["top5", "worst_class"]
    assert rows[["top5", "worst_class"]].notna().all(axis=None)
    assert rows["worst_class"].nunique() > 5

    model, data = trained_net(folder)
    with torch.no_grad():
        outputs, labels = model(data.test[0]), data.test[1]
    digital = rows[(rows["model"] == "sgd") & (rows["train_seed"] == 0) & (rows["target"] == "digital")].iloc[0]
    assert digital["worst_class"] == pytest.approx(worst_class(outputs, labels))
    five = outputs.argsort(dim=1, descending=True)[:, :5]
    assert digital["top5"] == pytest.approx(100 * (five == labels[:, None]).any(1).double().mean().item())

    means = rows.groupby(["model", "target", "train_seed"])["worst_class"].mean().groupby(["model", "target"]).mean()
    markdown = (folder / "report.md").read_text()
    head, _, *lines = table_after(markdown, "worst_class")
    targets = [cell.strip() for cell in head.split("|")[2:-1]]
    for line, method in zip(lines, ["sgd", "m-rwp"], strict=True):
        cells = [cell.strip().split("<br>")[0] for cell in line.split("|")[2:-1]]
        assert cells == [f"{means[method, target]:#.4g}" for target in targets]
    for row in summary.to_dict("records"):
        assert row["worst_class"] == pytest.approx(means[row["model"], row["target"]])

    module("my_metrics", METRIC + "\n# changed\n")
    with pytest.raises(ResultsError, match=r"different: the code of my_metrics:worst_class\)"):
        run_spec(path, folder)


def test_evaluate_takes_the_same_names(module, files, tmp_path):
    module("my_metrics", METRIC)
    command = (
        f"evaluate {files}/exact.safetensors --model support.nets:net --data npz:{files}/images.npz "
        f"--device gaussian-0.3 --chips 3 --jobs 1 --out {tmp_path}/out --metric top5 --metric my_metrics:worst_class"
    )
    assert invoke(*command.split()).returncode == 0
    rows, summary = (pd.read_csv(tmp_path / "out" / f"{name}.csv") for name in ("evaluations", "summary"))
    assert rows["worst_class"].nunique() > 1
    means = rows.groupby("target", sort=False)["worst_class"].mean()
    assert summary["worst_class"].tolist() == pytest.approx(means.tolist())
    markdown = (tmp_path / "out" / "report.md").read_text()
    assert "| top5 [%]<br>95 % interval | worst_class<br>95 % interval |" in markdown
    for mean in means:
        assert any(f"| {mean:#.4g}{end}" in markdown for end in ("<br>", " |"))


def test_a_metric_of_the_package_is_an_entry_in_its_dictionary(module, evaluation_images, files, monkeypatch):
    namespace = {}
    exec(METRIC, namespace)
    monkeypatch.setitem(METRICS, "worst_class", namespace["worst_class"])
    module("my_metrics", METRIC)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(36, 7))
    with pytest.raises(InputError, match="'worst_class' is the name of another column"):
        evaluate(model, evaluation_images.test, None, metrics=["my_metrics:worst_class"])
    batches = evaluation_images.batches("test", 500)
    table = evaluate(model, batches, Gaussian(0.1), chips=2, metrics=["worst_class"]).table
    monkeypatch.undo()
    own = evaluate(model, batches, Gaussian(0.1), chips=2, metrics={"worst_class": namespace["worst_class"]}).table
    pd.testing.assert_frame_equal(table, own)


@pytest.mark.slow
def test_a_target_kind_is_a_file_and_an_entry_in_a_dictionary(write_spec, trained_models, tmp_path):
    package = tmp_path / "package"
    source = Path(aimc_robust.__file__).parent
    shutil.copytree(source, package / "aimc_robust", ignore=shutil.ignore_patterns("__pycache__"))
    (package / "device_models").symlink_to(source.parent / "device_models")
    (package / "aimc_robust" / "targets" / "pruned.py").write_text(TARGET)
    entries = package / "aimc_robust" / "targets" / "entries.py"
    text = entries.read_text()
    assert text.count("KINDS: ") == text.count("    **NOISES,\n") == 1
    text = text.replace("    **NOISES,\n", f"    **NOISES,\n    {TARGET_ENTRY},\n")
    entries.write_text(
        text.replace("from aimc_robust.targets.target", f"{TARGET_IMPORT}\nfrom aimc_robust.targets.target")
    )

    path = write_spec(('targets = ["digital", "gaussian-0.2", "rram-wan2022"]', TARGET_SPEC))
    commands = [
        ["plan", path, "--set", "targets=[{name='x',noise='pruned',share=2.0}]"],
        ["schema"],
        ["plan", path],
        ["compare", path, "--out", tmp_path / "out", "--models", trained_models],
    ]
    calls = [sys.executable, "-c", COMMANDS, json.dumps(commands, default=str)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(package), str(TESTS)])}
    ran = subprocess.run(calls, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    mistake, schema, plan, comparison = (output for _, output in json.loads(ran.stdout.splitlines()[-1]))
    assert "share must be a finite number within 0 and 1, got 2.0" in mistake
    assert '"pruned"' in schema
    assert "pruned" in plan
    assert "report.html" in comparison

    model, data = trained_net(tmp_path / "out", write_spec(name="plain.toml"))
    with torch.no_grad():
        weights = {name: value for name, value in model.named_parameters() if value.ndim > 1}
        limit = np.quantile(np.concatenate([w.abs().flatten().numpy() for w in weights.values()]), 0.5)
        for weight in weights.values():
            weight[weight.abs() <= limit] = 0.0
        accuracy = 100 * (model(data.test[0]).argmax(1) == data.test[1]).double().mean().item()
    rows = pd.read_csv(tmp_path / "out" / "evaluations.csv")
    half = rows[(rows["target"] == "half") & (rows["model"] == "sgd")]
    assert list(half["chip"]) == [0, 0]
    assert half["accuracy"].iloc[0] == pytest.approx(accuracy)
    assert accuracy < rows[rows["target"] == "digital"]["accuracy"].iloc[0]
    assert f"{half['accuracy'].mean():.2f}" in (tmp_path / "out" / "report.md").read_text()
