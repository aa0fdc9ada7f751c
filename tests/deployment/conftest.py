"""Files and one finished evaluation for all tests that only read them."""

from pathlib import Path

import pytest

from aimc_robust.bench.evaluation_images import EvaluationImages

from .cases import Finished, files_under, finished_under, loaded


@pytest.fixture(scope="session")
def files(tmp_path_factory) -> Path:
    return files_under(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="session")
def shown(files) -> EvaluationImages:
    return loaded(files / "images.npz")


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Finished:
    return finished_under(tmp_path_factory.getbasetemp())
