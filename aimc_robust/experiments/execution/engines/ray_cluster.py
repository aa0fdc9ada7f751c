"""The Ray cluster that an engine uses: found or started, left as it was."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from aimc_robust.errors import InputError, MissingDependencyError

OBJECT_STORE_BYTES = 80 * 2**20  # of a local Ray, its least: trials hand over rows and sentences, not arrays


@contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Inside, this process is the driver of a Ray cluster; one that was connected before stays so.

    address: as `ray.init` takes it. None: what RAY_ADDRESS names; or else the cluster that runs on this machine, as
    under `ray symmetric-run`; or else a local Ray is started, and ends with the block.
    Raises MissingDependencyError without Ray, InputError when no cluster answers.
    """
    try:
        import ray
    except ImportError:
        raise MissingDependencyError(
            "a Ray cluster needs Ray, which is not installed: pip install 'aimc-robust[cluster]'"
        ) from None
    if ray.is_initialized():
        yield
        return
    quiet = {"log_to_driver": False, "logging_level": "WARNING"}  # what workers print would break the bars
    wanted = address or os.environ.get("RAY_ADDRESS")
    try:
        try:
            ray.init(wanted or "auto", **quiet)
        except ConnectionError:
            if wanted:
                raise
            ray.init("local", include_dashboard=False, object_store_memory=OBJECT_STORE_BYTES, **quiet)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise InputError(f"no Ray cluster at {wanted or 'this machine'} that this process can join: {error}") from None
    try:
        yield
    finally:
        ray.shutdown()  # ends the tasks of this driver, and a Ray that was started here


def gpus_per_trial(asked: float | None, *, accelerator: str) -> float:
    """`asked`, or by default one where the cluster has any and the training may use it."""
    import ray

    if asked is not None:
        return asked
    return 1.0 if accelerator != "cpu" and ray.cluster_resources().get("GPU", 0) > 0 else 0.0


def warn_without_room(*, cpus: int, gpus: float) -> None:
    """Warn when no node is large enough for a trial; no error, since a cluster may grow with its load."""
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(node.get("CPU", 0) >= cpus and node.get("GPU", 0) >= gpus for node in nodes):
        warnings.warn(
            f"no node of the Ray cluster has {cpus} CPUs and {gpus:g} GPUs for a trial; the trials wait until one joins.",
            stacklevel=2,
        )


def new_mailbox() -> Any:
    """An actor that keeps what tasks tell until the driver takes it, in each task's order: bytes, pickled calls.

    It is on the driver's own node, without a CPU of its own, so that it ends when the driver does, and not before.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    class Mailbox:  # in here Ray sends it by value; as part of a module it would bring all of torch into its process
        def __init__(self) -> None:
            self.kept: list[bytes] = []
            self.closed = False

        def put(self, call: bytes) -> None:
            self.kept.append(call)

        def apply(self) -> list[bytes]:
            taken, self.kept = self.kept, []
            return taken

        def close(self) -> None:
            """Have no further trial begin."""
            self.closed = True

        def is_closed(self) -> bool:
            return self.closed

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    kept = {"max_restarts": -1, "max_task_retries": -1}
    return ray.remote(Mailbox).options(num_cpus=0, scheduling_strategy=here, **kept).remote()
