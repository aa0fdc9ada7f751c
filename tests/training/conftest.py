"""What several training tests share and what takes seconds to start."""

import pytest
from support.processes import Workers


@pytest.fixture(scope="session")
def workers(tmp_path_factory):
    """Two processes of one gloo group: workers(job, *args) returns job(rank, *args) of each."""
    both = Workers(tmp_path_factory.mktemp("workers"))
    yield both
    both.stop()
