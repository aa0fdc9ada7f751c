"""A file of a results folder that holds the wrong thing is named in one sentence, with advice that works."""

import json
import shutil

import pytest

from aimc_robust.errors import ResultsError
from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.experiments.results.evaluation import EvaluationResults
from aimc_robust.experiments.results.files import NOTES
from aimc_robust.experiments.results.merge import merge
from aimc_robust.experiments.results.origin import record_spec
from aimc_robust.experiments.results.rows import EXPLANATIONS, read_analyses, read_points
from aimc_robust.experiments.results.trial import Trial
from aimc_robust.io.atomic import read_rows
from aimc_robust.report.write import write_report

TRIAL = Trial("m-rwp", 0)
RUN = f"runs/{TRIAL}"
ROW = {"model": "m-rwp", "train_seed": 0, "target": "digital", "backend": "digital", "sigma": 0.0, "time_s": 0.0}
ROW |= {"chip": 0, "accuracy": 90.0, "loss": 0.5, "n": 180}
ANALYZED = {
    "settings": {"split": "training", "images": None, "sigma": 0.1, "rho": 0.1, "m": 8, "steps": 4, "probes": 1},
    "model_digest": "a",
    "loss": 0.5,
    "average_sharpness": 0.1,
    "ascent_sharpness": 0.2,
    "parameters": 9,
    "eigenvalues": [1.0],
    "errors": [0.0],
    "lowest": -0.1,
    "trace": 2.0,
    "nodes": [[0.0, 1.0]],
    "weights": [[0.5, 0.5]],
}
POINT = {"landscape": "plane", "point": 0, "accuracy": 90.0, "loss": 0.5, "n": 180}
EPOCH = {"epoch": 1, "accuracy": 90.0}
LAYER = {"inputs": [0.0, 1.0], "outputs": []}
STORED = {"layers": {"fc": LAYER}, "found_with": None}
EXPLAINED = {"model": "a", "train_seed": 0, "target": "b", "kind": "c", "name": "d", "layer": "e", "scale": 1.0} | {
    "bin": 0,
    "quantity": "input",
    "bank": 0,
}
PRUNED = {"name": "half", "noise": "pruned", "share": 0.5}  # a kind of an extended installation
NO_VALUES = [None, 3, "text", True]
MAPPING = {"network": "a", "targets": ["b"], "inputs": [[1, 2]], "layers": [], "total": {}}
WRONG_MAPPINGS = [
    {"line": "a", "mappings": mappings}
    for mappings in (None, {}, [3], [{}], [MAPPING | {"layers": [{}]}], [MAPPING | {"targets": "b"}])
]


def changed(values, **changes):
    return {key: value for key, value in (values | changes).items() if value is not KeyError}


def wrong_rows(row, *keys):
    """Rows that are none, lack a key, or have text for a number, a number for text, or a fraction for an integer."""
    yield from ([value] for value in [*NO_VALUES, [], {}, [row]])
    for key in keys:
        value = row[key]
        wrong = [KeyError, [value], {}, str(value) if not isinstance(value, str) else 3, True]
        yield from ([row, changed(row, **{key: other})] for other in wrong)
        if isinstance(value, int):
            yield [changed(row, **{key: 0.5})]


FILES = {
    "question.json": [*NO_VALUES, [], [{}], {"kind": "comparison"}, {"kind": "comparison", "targets": [PRUNED]}],
    "environment.json": [*NO_VALUES, {}, {"torch": "2"}, ["torch"], [[]], [None]],
    "coverage.json": [*NO_VALUES, [], {}, ["line"], {"line": 3}, {"line": None}, {"lines": "text"}, *WRONG_MAPPINGS],
    NOTES: [*NO_VALUES, {}, [3], [None], [["note"]]],
    f"{RUN}/failed.json": [*NO_VALUES, [], {}, {"reason": None}, {"reason": 3}],
    f"{RUN}/origin.json": [
        *NO_VALUES,
        [],
        {},
        {"spec": "a"},
        {"weights": {}},
        {"spec": 3, "weights": {}},
        {"spec": "a", "weights": []},
        {"spec": "a", "weights": {"digital": 3}},
    ],
    f"{RUN}/ranges.json": [
        *NO_VALUES,
        [],
        {"target": 3},
        *({"target": changed(STORED, layers=v)} for v in (KeyError, 3, [], {"fc": 3}, {"fc": []})),
        *({"target": changed(STORED, found_with=v)} for v in (KeyError, 3, {}, {"layers": {}, "fold": True})),
        *(
            {"target": changed(STORED, layers={"fc": changed(LAYER, inputs=v)})}
            for v in (KeyError, 3, [], [0.0], ["0", "1"], [1.0, 0.0])
        ),
        *(
            {"target": changed(STORED, layers={"fc": changed(LAYER, outputs=v)})}
            for v in (KeyError, 3, [1.0], [["0", "1"]], [[1.0, 0.0]])
        ),
    ],
    f"{RUN}/history.jsonl": [*wrong_rows(EPOCH, "epoch"), [changed(EPOCH, accuracy="90")]],
    f"{RUN}/evaluations.jsonl": list(wrong_rows(ROW, *ROW)),
    f"{RUN}/landscape.jsonl": list(wrong_rows(POINT, *POINT)),
    f"{RUN}/analysis.jsonl": list(wrong_rows(ANALYZED, "settings", "eigenvalues", "nodes", "parameters")),
    **{
        f"{name}.jsonl": list(
            wrong_rows({key: EXPLAINED[key] for key in shape.__annotations__}, "train_seed", "target")
        )
        for name, shape in EXPLANATIONS.items()
    },
}


def read_all(folder):
    """Read every file."""
    results = ComparisonResults.open(folder)
    results.environments, results.coverage, results.histories(), results.table(), results.failure(TRIAL)
    results.ranges(TRIAL, "target")
    read_points(results.run_folder(TRIAL), "accuracy")
    read_analyses(results.run_folder(TRIAL))
    record_spec(results.run_folder(TRIAL), results.spec)
    results.read_json_file(NOTES)
    for name in EXPLANATIONS:
        results.explanation(name)


def write(path, content):
    lines = content if path.suffix == ".jsonl" else [content]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.mark.parametrize("name", FILES)
def test_whatever_a_file_holds_it_is_named_in_one_sentence(name, finished_comparison, tmp_path):
    folder = shutil.copytree(finished_comparison, tmp_path / "out", ignore=shutil.ignore_patterns("*.safetensors"))
    read_all(folder)
    path = folder / name
    for content in FILES[name]:
        write(path, content)
        with pytest.raises(ResultsError) as caught:
            read_all(folder)
        text = str(caught.value)
        assert str(path) in text, content
        assert text.count("\n") == 0, content
        if name == "question.json" and isinstance(content, dict):
            assert "another version or an extended one" in text, content
            assert "delete" not in text, content  # of what another version wrote, nothing would be left
        else:
            assert "damaged (" in text or "another kind" in text, content
        assert len(text) < 400 + 2 * len(str(path)), content
    path.write_text("[" * 5000 + "\n")
    with pytest.raises(ResultsError, match="damaged"):
        read_all(folder)


IMPOSSIBLE = {
    "another seed": ({"train_seed": 1}, "row 2: it is of m-rwp-seed1, not of m-rwp-seed0"),
    "another model": ({"model": "sgd"}, "row 2: it is of sgd-seed0, not of m-rwp-seed0"),
    "another number for the chip": (
        {"chip": 0, "accuracy": 80.0},
        "row 2: an earlier row of digital, chip 0 has other values",
    ),
    "nothing scored": ({"n": 0}, "row 2: n: input should be greater than or equal to 1, got 0"),
    "a chip below 0": ({"chip": -1}, "row 2: chip: input should be greater than or equal to 0, got -1"),
    "NaN": ({"accuracy": float("nan")}, "row 2: accuracy: expected a finite number from 0 to 100, got nan"),
    "too much": ({"accuracy": 150.0}, "row 2: accuracy: expected a finite number from 0 to 100, got 150"),
}


@pytest.mark.parametrize(("changes", "reason"), IMPOSSIBLE.values(), ids=list(IMPOSSIBLE))
def test_a_row_that_its_run_cannot_have_is_named_with_its_file(changes, reason, finished_comparison, tmp_path):
    folder = shutil.copytree(finished_comparison, tmp_path / "out", ignore=shutil.ignore_patterns("*.safetensors"))
    path = folder / RUN / "evaluations.jsonl"
    write(path, [ROW, ROW | {"chip": 1} | changes])
    for use in (write_report, lambda folder: merge([folder, finished_comparison], tmp_path / "all")):
        with pytest.raises(ResultsError) as caught:
            use(folder)
        assert str(caught.value).startswith(f"{path} is damaged ({reason}")


def damage(path):
    write(path, [["nothing"]] if path.suffix == ".jsonl" else "nothing")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "advice", "deleted"),
    [
        ("question.json", "delete it and run `compare`", "question.json"),
        ("coverage.json", "delete it and run `compare`", "coverage.json"),
        ("environment.json", "delete it; it cannot be computed again, and reports then say", "environment.json"),
        (f"{RUN}/history.jsonl", "delete it and run the command", f"{RUN}/history.jsonl"),
        (f"{RUN}/evaluations.jsonl", "delete it and run the command", f"{RUN}/evaluations.jsonl"),
        (f"{RUN}/failed.json", "delete it; `compare` then runs the model", f"{RUN}/failed.json"),
        (f"{RUN}/origin.json", "delete its folder and run the command", RUN),
    ],
)
def test_the_advice_for_a_damaged_file_works(name, advice, deleted, run, write_spec, comparison_copy):
    rows = read_rows(comparison_copy / RUN / "evaluations.jsonl")
    damage(comparison_copy / name)

    def use_again():
        run(write_spec())
        return write_report(comparison_copy)

    if name.endswith("origin.json"):  # read while a model is evaluated
        path = comparison_copy / RUN / "evaluations.jsonl"
        path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(ResultsError, match=advice) as caught:
        use_again()
    assert name.rpartition("/")[2] in str(caught.value)
    path = comparison_copy / deleted
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    page = use_again().read_text()
    assert ("not recorded (no environment.json)" in page) == (name == "environment.json")
    assert read_rows(comparison_copy / RUN / "evaluations.jsonl") == rows


@pytest.mark.slow
def test_the_advice_for_damaged_notes_of_an_evaluation_works(finished_evaluation, tmp_path):
    folder = shutil.copytree(finished_evaluation.results.folder, tmp_path / "out")
    damage(folder / NOTES)
    with pytest.raises(ResultsError, match=r"notes\.json .*delete it and run `compare` or `evaluate`"):
        write_report(folder)
    (folder / NOTES).unlink()
    assert EvaluationResults.open(folder).read_json_file(NOTES) is None
    write_report(folder)
