"""The command line, called in this process or in one of its own."""

import contextlib
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import NamedTuple

from typer.testing import CliRunner

from aimc_robust.cli.app import app

ENVIRONMENT = {"OMP_NUM_THREADS": "1", "COLUMNS": "120", "TERM": "dumb"}


class Completed(NamedTuple):
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


def invoke(*arguments: object, cwd: Path | None = None) -> Completed:
    """Run `aimc-robust ARGUMENTS` in this process, in the folder `cwd`."""
    search_path = list(sys.path)
    try:
        with contextlib.chdir(cwd or Path.cwd()), warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # as Python does unless pytest runs it
            result = CliRunner(env=ENVIRONMENT).invoke(app, [*map(str, arguments)])
    finally:
        sys.path[:] = search_path  # commands add the current folder
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Completed(result.exit_code, result.stdout, result.stderr)


def run_process(*arguments: object, cwd: Path | None = None) -> Completed:
    """Run `aimc-robust ARGUMENTS` in a process of its own."""
    command = [sys.executable, "-m", "aimc_robust", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=os.environ | ENVIRONMENT, timeout=120)
    return Completed(done.returncode, done.stdout, done.stderr)
