"""Every public name has an example that runs: in its docstring, or on docs/reference/examples.md (test_docs)."""

import doctest
import operator
import re
from pathlib import Path

import pytest
import torch
from torch import nn

import aimc_robust as ar

PAGE = (Path(__file__).parents[1] / "docs" / "reference" / "examples.md").read_text(encoding="utf-8")
ON_PAGE = {
    name
    for heading, text in re.findall(r"^### ([^\n]*)\n\n```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    for name in re.findall(r"ar\.([\w.]+)", heading)
    if re.search(rf"\bar\.{name}\b", text)
}
NAMES = [name for name in ar.__all__ if name not in ("__version__", "plot")]
NAMES += [f"plot.{name}" for name in ar.plot.__all__]


def examples(name: str) -> list[doctest.Example]:
    """The examples in a docstring that are not to be skipped."""
    found = doctest.DocTestParser().get_examples(operator.attrgetter(name)(ar).__doc__ or "")
    return [example for example in found if doctest.SKIP not in example.options]


IN_DOCSTRING = [name for name in NAMES if examples(name)]


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_has_an_example(name):
    assert name in ON_PAGE or name in IN_DOCSTRING


@pytest.mark.parametrize("name", IN_DOCSTRING)
def test_the_examples_of_a_docstring_run(name):
    names = {public: getattr(ar, public) for public in ar.__all__} | {"ar": ar, "torch": torch, "nn": nn}
    torch.manual_seed(0)
    test = doctest.DocTest(examples(name), names, name, None, 0, None)
    output: list[str] = []
    failed, _ = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(test, out=output.append)
    assert failed == 0, "".join(output)
