"""A warning points to the line that called the package, through however many of its functions."""

import importlib.util
import warnings
from functools import partial
from pathlib import Path

import pytest
import test_data_kinds as kinds

import aimc_robust as ar
from aimc_robust.errors import warn

PCM = ar.Crossbar("pcm-nandakumar2019", read_noise=False)
LATE_S = 1e8  # its drift was measured for a year
FUNCTIONS = {
    "program": lambda data: ar.program(kinds.net(), PCM, time_s=LATE_S),
    "evaluate": lambda data: ar.evaluate(kinds.net(), data, PCM, chips=2, time_s=LATE_S),
    "evaluate_grid": lambda data: ar.evaluate_grid(kinds.net(), data, {"pcm": PCM}, time_s=[0.0, LATE_S], chips=2),
    "predict_accuracy": lambda data: ar.predict_accuracy(kinds.net(), data, {"pcm": PCM}, time_s=LATE_S),
    "predict_loss": lambda data: ar.predict_loss(kinds.net(), data, {"pcm": PCM}, time_s=LATE_S),
    "check_prediction": lambda data: ar.check_prediction(kinds.net(), data, {"pcm": PCM}, chips=4, time_s=LATE_S),
    "attribute": lambda data: ar.attribute(kinds.net(), data, PCM, chips=2, time_s=LATE_S),
    "keep_digital": lambda data: ar.keep_digital(
        kinds.net(), data, PCM, required=0.0, chips=2, rank_by="measured", ranking_chips=2, time_s=LATE_S
    ),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_warning_points_to_the_callers_line(name):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        FUNCTIONS[name](kinds.batches())
    late = [warning for warning in caught if "drift" in str(warning.message)]
    assert late
    assert {warning.filename for warning in late} == {__file__}


def test_a_users_file_may_have_any_name_and_code_none(tmp_path):
    (tmp_path / "mycontextlib.py").write_text("def call(function):\n    return function()\n", encoding="utf-8")
    spec = importlib.util.spec_from_file_location("mycontextlib", tmp_path / "mycontextlib.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with pytest.warns(UserWarning, match="late") as caught:
        module.call(partial(warn, "late"))
    assert (Path(caught[0].filename).name, caught[0].lineno) == ("mycontextlib.py", 2)
    with pytest.warns(UserWarning, match="late") as caught:
        exec("from aimc_robust.errors import warn\ndef call():\n    warn('late')\ncall()", {})
    assert (caught[0].filename, caught[0].lineno) == ("<string>", 3)
