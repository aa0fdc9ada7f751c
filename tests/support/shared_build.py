"""Folders that are built once in a run of the tests, whichever of its processes asks first."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock


def build_once(factory: pytest.TempPathFactory, name: str, build: Callable[[Path], None]) -> Path:
    """Return the folder `name` of this run; `build(folder)` fills it if no process of the run has done so yet.

    Tests must not change what is in it.
    """
    base = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent  # of all workers
    folder, complete = base / f"shared-{name}", base / f"shared-{name}.complete"
    with FileLock(base / f"shared-{name}.lock"):
        if not complete.exists():
            shutil.rmtree(folder, ignore_errors=True)  # what a build that failed has left
            folder.mkdir()
            build(folder)
            complete.touch()
    return folder
