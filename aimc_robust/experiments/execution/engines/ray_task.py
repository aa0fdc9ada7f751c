"""What runs on the nodes of a Ray cluster: one trial as a task, which first asks whether its node is fit for it."""

from __future__ import annotations

import pickle
import platform
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from aimc_robust import __version__
from aimc_robust.errors import ResultsError
from aimc_robust.experiments.execution.engines.base import RunTrial
from aimc_robust.experiments.execution.engines.outcomes import Attempt, attempt
from aimc_robust.experiments.execution.engines.progress_relay import Call, ForwardingProgress
from aimc_robust.experiments.results.trial import Trial

if TYPE_CHECKING:
    from aimc_robust.experiments.execution.trial_runner import RunContext


def versions() -> dict[str, str]:
    """What all nodes must agree on for equal numbers. A build of torch for GPUs may stand beside one without."""
    return {"aimc-robust": __version__, "torch": version("torch").partition("+")[0]}


def check_node(work: RunContext, token: str, expected: dict[str, str]) -> None:
    """Raise ResultsError unless this node sees the driver's results folder and has the driver's versions."""
    here = platform.node()
    if not (work.folder / token).exists():
        raise ResultsError(
            f"node {here} does not see the results folder {work.folder} of the process that started the run; give "
            "--out a folder that all nodes share, at the same path."
        )
    found = versions()
    wrong = [f"{name} {found[name]} instead of {wanted}" for name, wanted in expected.items() if found[name] != wanted]
    if wrong:
        raise ResultsError(f"node {here} has {', '.join(wrong)}; install the same versions on all nodes.")


def run_remote_trial(
    run_trial: RunTrial,
    work: RunContext,
    trial: Trial,
    *,
    mailbox: Any,
    token: str,
    expected: dict[str, str],
    threads: int,
) -> Attempt | ResultsError | None:
    """A task: what came of the trial; ResultsError: this node is not fit for the run; None: no further trial begins."""
    try:
        check_node(work, token, expected)
    except ResultsError as error:
        return error
    import ray
    import torch

    if ray.get(mailbox.is_closed.remote()):
        return None
    torch.set_num_threads(threads)
    last = None

    def send(call: Call) -> None:
        nonlocal last
        last = mailbox.put.remote(pickle.dumps(call))

    found = attempt(run_trial, work, trial, ForwardingProgress(send))
    if last is not None:
        ray.get(last)  # and so all its calls are home before its result is
    return found
