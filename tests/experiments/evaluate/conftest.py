"""Files and one finished evaluation for all tests that only read them."""

from pathlib import Path

import pytest
from support.evaluation_cases import Finished, files_under, finished_under, loaded

from aimc_robust.data.evaluation_set import EvaluationImages


@pytest.fixture(scope="session")
def files(tmp_path_factory) -> Path:
    return files_under(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="session")
def shown(files) -> EvaluationImages:
    return loaded(files / "images.npz")


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Finished:
    return finished_under(tmp_path_factory.getbasetemp())
