"""A trial as a task on a node of a Ray cluster, after a check that the node is suitable."""

from __future__ import annotations

import pickle
import platform
from importlib.metadata import version
from typing import Any

from aimc_robust import __version__
from aimc_robust.errors import ResultsError
from aimc_robust.experiments.callbacks.progress import Call, ForwardingProgress
from aimc_robust.experiments.execution.engines.base import RunTrial
from aimc_robust.experiments.execution.engines.outcomes import Attempt, attempt
from aimc_robust.experiments.execution.trial_runner import RunContext
from aimc_robust.experiments.results.trial import Trial


def package_versions() -> dict[str, str]:
    """Return the versions that must be equal on all nodes for equal numbers; builds of torch may differ."""
    return {"aimc-robust": __version__, "torch": version("torch").partition("+")[0]}


def check_node(context: RunContext, token: str, expected: dict[str, str]) -> None:
    """Raise ResultsError unless this node sees the driver's file `token` in the folder, and has its versions."""
    node = platform.node()
    if not (context.folder / token).exists():
        raise ResultsError(
            f"node {node} does not see the results folder {context.folder} of the process that started the run; give "
            "--out a folder that all nodes share, at the same path."
        )
    versions = package_versions()
    wrong = [
        f"{name} {versions[name]} instead of {value}" for name, value in expected.items() if versions[name] != value
    ]
    if wrong:
        raise ResultsError(f"node {node} has {', '.join(wrong)}; install the same versions on all nodes.")


def run_remote_trial(
    run_trial: RunTrial,
    context: RunContext,
    trial: Trial,
    *,
    mailbox: Any,
    token: str,
    expected: dict[str, str],
    threads: int,
) -> Attempt | ResultsError | None:
    """Run one trial as a task that sends its progress to `mailbox`; for `token` and `expected` see `check_node`.

    Returns:
        The outcome; a ResultsError if this node is not suitable; None if no further trial may start.
    """
    try:
        check_node(context, token, expected)
    except ResultsError as error:
        return error
    import ray
    import torch

    if ray.get(mailbox.is_closed.remote()):
        return None
    torch.set_num_threads(threads)
    last_call = None

    def send(call: Call) -> None:
        nonlocal last_call
        last_call = mailbox.put.remote(pickle.dumps(call))

    outcome = attempt(run_trial, context, trial, ForwardingProgress(send))
    if last_call is not None:
        ray.get(last_call)  # all progress calls arrive before the outcome
    return outcome
