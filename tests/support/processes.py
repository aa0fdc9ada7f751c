"""Real processes that work together over gloo. They start once and then do one job after the other."""

import datetime
import importlib
import queue
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import distributed, multiprocessing

PATIENCE_S = 60  # a deadlock fails a test instead of hanging it


def on_processes(*sizes: int) -> pytest.MarkDecorator:
    """Run a test with `workers` of each of these sizes; more than two processes on two cores are slow."""
    sized = [pytest.param(size, marks=pytest.mark.slow if size > 2 else ()) for size in sizes]
    return pytest.mark.parametrize("workers", sized, indirect=True, scope="session", ids="{} processes".format)


class Workers:
    """`size` processes of one gloo group. The group meets in a file, so that no port needs to be free."""

    def __init__(self, folder: Path, size: int = 2) -> None:
        self.folder, self.size, self.processes, self.starts = folder, size, [], 0

    def __call__(self, job: Callable, *args: object) -> list:
        """job(rank, *args) on every process at once; what each returns, by rank. Raises AssertionError for a failure.

        After a failure the processes are ended, as they may wait for each other, and the next job gets new ones.
        """
        if not self.processes:
            self.start()
        for inbox in self.inboxes:
            inbox.put((job, args))
        results = {}
        while len(results) < self.size:
            try:
                rank, result, failure = self.outbox.get(timeout=PATIENCE_S)
            except queue.Empty:
                rank, failure = "some", f"no answer within {PATIENCE_S} s"
            if failure:
                self.stop()
                raise AssertionError(f"process {rank}: {failure}")
            results[rank] = result
        return [results[rank] for rank in range(self.size)]

    def start(self) -> None:
        """Start the processes; before anything else, since torch.compile and torch.export leave threads behind."""
        importlib.import_module("aimc_robust.training.fabric_import")  # once here, and not in each process
        # A fork has torch imported already; with a GPU, torch has threads that do not survive it.
        context = multiprocessing.get_context("forkserver" if torch.cuda.is_available() else "fork")
        self.starts += 1
        meeting = self.folder / f"meeting-{self.starts}"
        self.inboxes, self.outbox = [context.Queue() for _ in range(self.size)], context.Queue()
        for rank, inbox in enumerate(self.inboxes):
            args = (rank, self.size, meeting.as_uri(), inbox, self.outbox)
            self.processes.append(context.Process(target=_work, args=args, daemon=True))
            self.processes[-1].start()

    def stop(self) -> None:
        """End the processes."""
        for process in self.processes:
            process.kill()
            process.join()
        self.processes = []


def _work(rank: int, size: int, meeting: str, inbox: object, outbox: object) -> None:
    torch.set_num_threads(1)
    patience = datetime.timedelta(seconds=PATIENCE_S)
    distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=size, timeout=patience)
    while True:
        job, args = inbox.get()
        try:
            result, failure = job(rank, *args), ""
        except Exception:
            result, failure = None, traceback.format_exc()
        outbox.put((rank, result, failure))
