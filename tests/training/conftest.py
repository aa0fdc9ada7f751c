"""What several training tests share and what takes seconds to start."""

import tempfile
from pathlib import Path

import pytest
from support.processes import Workers

WORKERS = pytest.StashKey[dict[int, Workers]]()


def pytest_collection_finish(session):
    """Start the processes before the first test: later, torch may have threads that do not survive a fork."""
    sizes = {processes_of(item) for item in session.items if "workers" in getattr(item, "fixturenames", ())}
    crews = session.config.stash[WORKERS] = {}
    for size in sorted(sizes):
        folder = tempfile.TemporaryDirectory()
        session.config.add_cleanup(folder.cleanup)
        crews[size] = Workers(Path(folder.name), size)
        session.config.add_cleanup(crews[size].stop)
        crews[size].start()


def processes_of(item):
    """How many processes a test asks for, as the parameter of `workers`."""
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    return parameters.get("workers", 2)


@pytest.fixture(scope="session")
def workers(request):
    """The processes of one gloo group, two unless `request.param` says more; workers(job, *args) is a list, by rank."""
    return request.config.stash[WORKERS][getattr(request, "param", 2)]
