"""Reports of the finished comparison of real digits."""

import pytest


@pytest.fixture(autouse=True)
def _stub_figures(figures_on_request):
    pass
