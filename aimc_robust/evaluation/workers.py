"""Work on numbered items in several processes: the same results in the same order, whatever the number of processes."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from typing import Any, TypeVar

import torch

from aimc_robust.errors import AimcError, require_whole

Item = TypeVar("Item")
Result = TypeVar("Result")

AHEAD = 2  # items waiting for each process, so that none idles and little is done in vain when the caller stops

_work: Callable[[Any], Any] | None = None  # of a worker process


class WorkerError(AimcError, RuntimeError):
    """A worker process ended before its work was done."""


def in_order(work: Callable[[Item], Result], items: Iterable[Item], *, jobs: int | None) -> Iterator[Result]:
    """`work(item)` for each item, in the order of the items, as far as the caller asks for them.

    jobs: so many processes with one thread each; 1 is this process with one thread. Any number gives the same results,
        since a sum's last digits depend on the number of threads alone. None: this process with torch's threads.
    work: on Linux processes are forked and share what it holds without a copy; elsewhere it is pickled.
    Raises what `work` raises; WorkerError when a process dies.
    """
    if jobs is not None:
        require_whole("jobs", jobs, low=1)
    if jobs is None:
        yield from map(work, items)
    elif jobs == 1:
        for item in items:
            with one_thread():
                result = work(item)
            yield result
    else:
        yield from _in_processes(work, items, jobs)


@contextmanager
def one_thread() -> Iterator[None]:
    """Inside, torch computes with one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _in_processes(work: Callable[[Item], Result], items: Iterable[Item], jobs: int) -> Iterator[Result]:
    # Forked workers need no second import of torch and no copy of model and images. torch's threads do not survive a
    # fork, which is why a worker has one (as in torch's own DataLoader).
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_start, initargs=(work, os.getpid()))
    waiting: deque[Future] = deque()
    remaining = iter(items)
    try:
        waiting.extend(pool.submit(_run, item) for item in islice(remaining, AHEAD * jobs))
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(pool.submit(_run, item) for item in islice(remaining, 1))
            yield result
    except BrokenProcessPool:
        raise WorkerError(
            f"one of {jobs} worker processes died, perhaps for want of memory; use fewer jobs. Finished work is kept."
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _start(work: Callable[[Any], Any], parent: int) -> None:
    global _work
    _work = work
    torch.set_num_threads(1)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    """A worker whose parent was killed would wait for work for ever."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


def _run(item: Any) -> Any:
    assert _work is not None
    return _work(item)
