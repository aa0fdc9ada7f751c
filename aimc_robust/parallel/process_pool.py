"""CPU cores, threads, and a map over worker processes whose results do not depend on the number of processes."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from multiprocessing.connection import Connection
from typing import Any, TypeVar

import torch
from torch import nn

from aimc_robust.errors import AimcError, InputError, exits_as_errors, require_whole
from aimc_robust.parallel.start_method import spawns_processes

Item = TypeVar("Item")
Result = TypeVar("Result")

QUEUED_PER_WORKER = 2  # keeps every worker busy, and wastes little work when the caller stops early

_worker_function: Callable[[Any], Any] | None = None  # set in worker processes only


class WorkerError(AimcError, RuntimeError):
    """A worker process died, or raised an exception that cannot be pickled."""


def check_jobs(model: nn.Module, jobs: int | None) -> None:
    """Raise InputError for an invalid number of processes, or any number for a model on a GPU."""
    if jobs is None:
        return
    require_whole("jobs", jobs, low=1)
    device = next((parameter.device for parameter in model.parameters()), None)
    if device is not None and device.type != "cpu":
        raise InputError(f"jobs starts processes on the CPU, but this model is on {device}; omit jobs.")


def available_cpus() -> list[int]:
    """Numbers of the usable CPU cores; containers, SLURM and `taskset` may restrict them."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def ordered_map(work: Callable[[Item], Result], items: Iterable[Item], *, jobs: int | None) -> Iterator[Result]:
    """Yield `work(item)` for each item, in the order of the items.

    Items are taken lazily. If the caller stops early, the worker processes end at once.

    Args:
        work: Function to apply. Forked worker processes share its data without a copy; for spawned ones (see
            `start_method`) it is pickled.
        items: Items to process.
        jobs: Number of worker processes with one thread each; 1 computes in this process with one thread. Results are
            the same for any number, since rounding depends on the number of threads only. None computes in this process
            with torch's current number of threads.

    Raises:
        InputError: if `jobs` is invalid, or processes are spawned and `work` or an item cannot be pickled.
        WorkerError: if a worker process dies.
        Exception: whatever `work` raises.
    """
    if jobs is None:
        yield from map(work, items)
        return
    require_whole("jobs", jobs, low=1)
    if jobs == 1:
        for item in items:
            with use_threads(1):
                result = work(item)
            yield result
    else:
        yield from _map_in_processes(work, items, jobs)


def thread_map(work: Callable[[Item], object], items: Iterable[Item], *, threads: int) -> None:
    """Call `work(item)` for each item on so many threads, in each of which torch computes with one thread."""
    if threads == 1:
        for item in items:
            work(item)
        return
    with use_threads(1), ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(work, items):
            pass


@contextmanager
def use_threads(threads: int | None) -> Iterator[None]:
    """Context manager in which torch computes with this number of threads; None: as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _map_in_processes(work: Callable[[Item], Result], items: Iterable[Item], jobs: int) -> Iterator[Result]:
    with _process_pool(work, jobs) as pool:
        remaining = iter(items)
        pending = deque(_submit(pool, item) for item in islice(remaining, QUEUED_PER_WORKER * jobs))
        while pending:
            result = pending.popleft().result()
            pending.extend(_submit(pool, item) for item in islice(remaining, 1))
            yield result


def _submit(pool: ProcessPoolExecutor, item: Any) -> Future[Any]:
    try:
        return pool.submit(_call_worker_function, item)  # which starts a process where none is idle
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise InputError(
            "worker processes of this system receive what they work on by pickle, which cannot hold everything here "
            f"({error}). Use one job, or define the class or function at the top of a module."
        ) from None


@contextmanager
def _process_pool(work: Callable[[Item], Any], jobs: int) -> Iterator[ProcessPoolExecutor]:
    """Processes that apply `work`; they end at once if the block is left by an error or by a caller that stops."""
    # Forked workers need no second import of torch and no copy of model and images. torch's threads do not survive a
    # fork, so each worker uses a single thread (as in torch's own DataLoader).
    context = multiprocessing.get_context("spawn" if spawns_processes() else "fork")
    lifeline, lifeline_end = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(
        jobs, mp_context=context, initializer=_start_worker, initargs=(work, lifeline, lifeline_end)
    )
    try:
        yield pool
    except BrokenProcessPool:
        cause = "lack of memory; use fewer jobs"
        if spawns_processes():
            cause += '; a script that starts them needs `if __name__ == "__main__":` around its code'
        raise WorkerError(
            f"one of {jobs} worker processes died, possibly from {cause}. Finished work is kept."
        ) from None
    except BaseException:  # the remaining results are no longer needed
        lifeline_end.close()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        lifeline_end.close()
        lifeline.close()


def _start_worker(work: Callable[[Any], Any], lifeline: Connection, lifeline_end: Connection) -> None:
    global _worker_function
    _worker_function = work
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C also reaches the parent, which then ends its workers
    lifeline_end.close()
    threading.Thread(target=_exit_with_parent, args=(lifeline,), daemon=True).start()


def _exit_with_parent(lifeline: Connection) -> None:
    """End this worker when the parent closes its end of the pipe or dies; nothing is ever sent through it."""
    lifeline.poll(None)
    os._exit(1)


def _call_worker_function(item: Any) -> Any:
    assert _worker_function is not None
    try:
        with exits_as_errors():
            return _worker_function(item)
    except Exception as error:
        if not can_be_pickled(error):  # the parent would take it for a dead worker
            raise WorkerError(f"{type(error).__name__} in a worker process: {error}") from None
        raise


def can_be_pickled(error: Exception) -> bool:
    """Return whether an exception can be sent to another process."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # an exception's own constructor may raise anything
        return False
    return True
