"""Work on numbered items in several processes: the same results in the same order, whatever the number of processes."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from multiprocessing.connection import Connection
from typing import Any, TypeVar

import torch

from aimc_robust.errors import AimcError, require_whole
from aimc_robust.parallel.cores import available_cpus

Item = TypeVar("Item")
Result = TypeVar("Result")

AHEAD = 2  # items waiting for each process, so that none idles and little is done in vain when the caller stops

_work: Callable[[Any], Any] | None = None  # of a worker process


class WorkerError(AimcError, RuntimeError):
    """A worker process ended before its work was done, or raised what cannot be sent to this process."""


def ordered_map(work: Callable[[Item], Result], items: Iterable[Item], *, jobs: int | None) -> Iterator[Result]:
    """`work(item)` for each item, in the order of the items, as far as the caller asks for them.

    jobs: so many processes with one thread each; 1 is this process with one thread. Any number gives the same results,
        since a sum's last digits depend on the number of threads alone. None: this process with torch's threads.
    work: on Linux processes are forked and share what it holds without a copy; elsewhere it is pickled.
    Raises what `work` raises; WorkerError when a process dies. When the caller stops, its processes end at once.
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
def background_call(work: Callable[[], Result]) -> Iterator[Callable[[], Result]]:
    """Begin `work` beside what is done inside, which calls what it is given for the result.

    On Linux with a second core in a forked process with one thread; else `work` begins when its result is asked for.
    It is asked for once; where it never is, the process ends with the block. Raises what `work` raises where the result
    is asked for; WorkerError when its process has died.
    """
    if sys.platform != "linux" or len(available_cpus()) == 1:
        yield work
        return
    # No pool, which would keep threads here that later forks should not meet.
    context = multiprocessing.get_context("fork")
    (held, leash), (receiver, sender) = context.Pipe(duplex=False), context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(work, sender, held, leash))
    process.start()
    sender.close()

    def result() -> Result:
        try:
            fine, found = receiver.recv()
        except EOFError:
            raise WorkerError("a worker process died, perhaps for want of memory.") from None
        if not fine:
            raise found
        return found

    try:
        yield result
    finally:
        leash.close()
        process.join()
        held.close()
        receiver.close()


def _send(work: Callable[[], Any], sender: Connection, held: Connection, leash: Connection) -> None:
    _start(lambda _: work(), held, leash)
    try:
        message = True, _run(None)
    except Exception as error:
        message = False, error
    sender.send(message)


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
    with _processes(work, jobs) as pool:
        remaining = iter(items)
        waiting = deque(pool.submit(_run, item) for item in islice(remaining, AHEAD * jobs))
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(pool.submit(_run, item) for item in islice(remaining, 1))
            yield result


@contextmanager
def _processes(work: Callable[[Item], Any], jobs: int) -> Iterator[ProcessPoolExecutor]:
    """Processes for `_run` with an item of `work`; they end at once when an error, or a caller that stops, leaves."""
    # Forked workers need no second import of torch and no copy of model and images. torch's threads do not survive a
    # fork, which is why a worker has one (as in torch's own DataLoader).
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    held, leash = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_start, initargs=(work, held, leash))
    try:
        yield pool
    except BrokenProcessPool:
        raise WorkerError(
            f"one of {jobs} worker processes died, perhaps for want of memory; use fewer jobs. Finished work is kept."
        ) from None
    except BaseException:  # nobody asks for the rest any more
        leash.close()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        leash.close()
        held.close()


def _start(work: Callable[[Any], Any], held: Connection, leash: Connection) -> None:
    global _work
    _work = work
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which then lets go
    leash.close()
    threading.Thread(target=_end_with, args=(held,), daemon=True).start()


def _end_with(held: Connection) -> None:
    """A worker ends with its parent, however that ends, and when the parent lets go: nothing is ever sent."""
    held.poll(None)
    os._exit(1)


def _run(item: Any) -> Any:
    assert _work is not None
    try:
        return _work(item)
    except Exception as error:
        if not _can_be_sent(error):  # it would look like a dead worker
            raise WorkerError(f"{type(error).__name__} in a worker process: {error}") from None
        raise


def _can_be_sent(error: Exception) -> bool:
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # whatever an exception's own constructor raises
        return False
    return True
