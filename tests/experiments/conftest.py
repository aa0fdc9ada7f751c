"""Comparisons and evaluations whose reports nobody looks at; a store, and what is trained."""

import pytest
from support.object_stores import memory_store


@pytest.fixture(autouse=True)
def _stub_figures(figures_on_request):
    pass


@pytest.fixture
def url(monkeypatch):
    """The URL of an empty store, which is asked again at once."""
    from aimc_robust.io import object_store

    monkeypatch.setattr(object_store, "WAITS_S", (0.0,))
    with memory_store() as url:
        yield url


@pytest.fixture
def trained(monkeypatch):
    """Names of the trials that are trained from here on, each as often as it is."""
    from aimc_robust.experiments.execution import trial_runner

    names, train = [], trial_runner.train

    def recorded(*args, folder, fabric, **options):
        if fabric is not None:  # else it is finished, and loaded
            names.append(folder.name)
        return train(*args, folder=folder, fabric=fabric, **options)

    monkeypatch.setattr(trial_runner, "train", recorded)
    return names
