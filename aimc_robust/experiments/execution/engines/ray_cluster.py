"""Connect to a Ray cluster, or start a local Ray, and restore the previous state at the end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from aimc_robust.errors import InputError, MissingDependencyError, warn

OBJECT_STORE_BYTES = 80 * 2**20  # of a local Ray, its minimum: trials exchange rows and text, not arrays


@contextmanager
def connect(address: str | None) -> Iterator[None]:
    """Make this process the driver of a Ray cluster inside the block; an existing connection is used and kept.

    For `address` see `RayEngine`; a local Ray listens on the loopback interface, and ends with the block.

    Raises:
        MissingDependencyError: if Ray is not installed.
        InputError: if no cluster answers.
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
    # Output of workers would disturb the progress bars.
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "WARNING"}
    requested = address or os.environ.get("RAY_ADDRESS")
    try:
        try:
            ray.init(requested or "auto", **quiet)
        except ConnectionError:
            if requested:
                raise
            with _loopback_only():
                ray.init("local", include_dashboard=False, object_store_memory=OBJECT_STORE_BYTES, **quiet)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise InputError(f"cannot join a Ray cluster at {requested or 'this machine'}: {error}") from None
    try:
        yield
    finally:
        ray.shutdown()  # ends the tasks of this driver, and a Ray that was started here


@contextmanager
def _loopback_only() -> Iterator[None]:
    """Make a Ray that is started in the block listen on the loopback interface alone.

    Who reaches the ports of a Ray can run code on it. On macOS and Windows Ray does this by default; elsewhere it
    listens on every interface, and replaces a loopback address that it is given.
    """
    import ray
    from ray._private import ray_constants

    variable = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"  # for its processes; this one has read it
    before = os.environ.get(variable), getattr(ray_constants, "ENABLE_RAY_CLUSTER", True)
    os.environ[variable], ray_constants.ENABLE_RAY_CLUSTER = "0", False
    try:
        yield
    finally:
        os.environ.pop(variable)
        if before[0] is not None:
            os.environ[variable] = before[0]
        ray_constants.ENABLE_RAY_CLUSTER = before[1]
    address = ray.util.get_node_ip_address()
    if not address.startswith("127."):
        warn(
            f"this version of Ray listens on the network ({address}), where others may reach it; block its ports, or "
            "use --jobs instead of --engine ray.",
        )


def gpus_per_trial(requested: float | None, *, accelerator: str) -> float:
    """Return `requested`; by default 1 if the cluster has GPUs and the training may use them, else 0."""
    import ray

    if requested is not None:
        return requested
    return 1.0 if accelerator != "cpu" and ray.cluster_resources().get("GPU", 0) > 0 else 0.0


def warn_if_no_node_fits(*, cpus: int, gpus: float) -> None:
    """Warn if no node is large enough for a trial. This is no error, as a cluster may grow with its load."""
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(node.get("CPU", 0) >= cpus and node.get("GPU", 0) >= gpus for node in nodes):
        warn(
            f"no node of the Ray cluster has {cpus} CPUs and {gpus:g} GPUs for a trial; trials wait until one joins.",
        )


def create_mailbox() -> Any:
    """Create an actor that stores pickled progress calls of tasks until the driver takes them, in each task's order.

    It runs on the driver's node without a CPU of its own, so that it ends when the driver does, and not before.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    class Mailbox:  # defined here, Ray sends it by value; in a module it would import torch into its process
        def __init__(self) -> None:
            self.calls: list[bytes] = []
            self.closed = False

        def put(self, call: bytes) -> None:
            self.calls.append(call)

        def take(self) -> list[bytes]:
            calls, self.calls = self.calls, []
            return calls

        def close(self) -> None:
            """Let no further trial start."""
            self.closed = True

        def is_closed(self) -> bool:
            return self.closed

    driver_node = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    options: dict[str, Any] = {"max_restarts": -1, "max_task_retries": -1}
    return ray.remote(Mailbox).options(num_cpus=0, scheduling_strategy=driver_node, **options).remote()
