"""Reports of the finished comparison of real digits."""

import pytest


@pytest.fixture(autouse=True)
def _figures_are_drawn_on_request(request):
    if request.node.get_closest_marker("drawn_figures") is None:
        request.getfixturevalue("stub_figures")
