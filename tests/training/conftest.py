"""What several training tests share and what takes seconds to start."""

import tempfile
from pathlib import Path

import pytest
from support.processes import Workers

WORKERS = pytest.StashKey[Workers]()


def pytest_collection_finish(session):
    """Start the processes before the first test: later, torch may have threads that do not survive a fork."""
    if any("workers" in getattr(item, "fixturenames", ()) for item in session.items):
        folder = tempfile.TemporaryDirectory()
        session.config.add_cleanup(folder.cleanup)
        both = session.config.stash[WORKERS] = Workers(Path(folder.name))
        session.config.add_cleanup(both.stop)
        both.start()


@pytest.fixture(scope="session")
def workers(request):
    """Two processes of one gloo group: workers(job, *args) returns job(rank, *args) of each."""
    return request.config.stash[WORKERS]
