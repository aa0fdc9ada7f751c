"""Aim: a thousand trials on a Ray cluster need no baby-sitting, and Ray and the results folder cost little.

    python benchmarks/speed/ray_trials.py                 # 1000 trials on three nodes of this machine
    python benchmarks/speed/ray_trials.py --disturbed     # workers, a node, driver and head are killed

Trials train nothing, but write every file of a training, and measure a small network. Prints how many trials end per
second, what a trial's time is spent on, and what that means for ten times as many. Disturbed, it also checks the rows.

On two busy cores, the disturbed run took 26 minutes, since each process that replaces a killed one imports everything:

    1000 trials; 34 workers and a node were killed, one joined, one was slow
    the driver was killed after 333 trials, the head after 667
    1016 starts of 1000 trainings; every row once, and equal to those of a serial run
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
from stub_trials import spec_text, stub_trial

from aimc_robust.experiments.compare import compare
from aimc_robust.experiments.execution.engines.outcomes import RETRIES
from aimc_robust.experiments.execution.engines.ray import RayEngine
from aimc_robust.experiments.execution.engines.serial import SerialEngine
from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.experiments.results.files import EVALUATIONS, HISTORY
from aimc_robust.experiments.spec.loading import load_spec
from aimc_robust.io.atomic import read_rows
from aimc_robust.training.fabric import Machine

NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "disabled",
    "RAY_worker_niceness": "0",  # by default workers wait for every other program
    "RAY_gcs_rpc_server_reconnect_timeout_s": "5",  # after which a driver without its head ends
    "OMP_NUM_THREADS": "1",
}
DEADLINE_S = 1800.0
KILLED = {"begin": 15, "epoch1": 13, "trained": 30}
"""Of up to 200 trials, the workers of each 15th, 13th and 30th are killed at these moments; no trial's three times."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000, help="an even number")
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--disturbed", action="store_true")
    parser.add_argument("--drive", nargs=2, metavar=("FOLDER", "ADDRESS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.drive:
        drive(Path(options.drive[0]), options.drive[1])
        return
    with tempfile.TemporaryDirectory(prefix="ray-trials-") as temporary:
        folder = Path(temporary)
        if options.disturbed:
            print("\n".join(run_disturbed(folder, options.trials)))
        else:
            measure(folder, options.trials, options.nodes)


def drive(folder: Path, address: str) -> None:
    """Run or continue the comparison of `folder/spec.toml` on a cluster."""
    failed = compare(
        load_spec(folder / "spec.toml"),
        folder / "out",
        engine=_MeasuredEngine(RayEngine(address=address, run_trial=stub_trial), folder / "out" / "driver.json"),
        machine=Machine(accelerator="cpu"),
    ).failed
    assert not failed, failed


class _MeasuredEngine:
    """An engine that writes how long it ran, and how much of that this process computed."""

    threads = 1

    def __init__(self, engine: RayEngine, path: Path) -> None:
        self.engine, self.path = engine, path

    def run(self, context, trials, progress):
        began, cpu = time.time(), time.process_time()
        outcomes = self.engine.run(context, trials, progress)
        self.path.write_text(
            json.dumps({"began": began, "seconds": time.time() - began, "cpu": time.process_time() - cpu})
        )
        return outcomes


def driver(folder: Path, address: str) -> subprocess.Popen:
    """Start `drive` in a process of its own."""
    command = [sys.executable, __file__, "--drive", str(folder), address]
    log = (folder / "driver.log").open("a")
    return subprocess.Popen(command, env=environment(), stdout=log, stderr=subprocess.STDOUT)


def environment() -> dict[str, str]:
    """Environment of drivers and nodes: worker processes import the trials of this folder."""
    paths = [str(Path(__file__).parent), *(path for path in sys.path if path)]
    return os.environ | ENVIRONMENT | {"PYTHONPATH": os.pathsep.join(paths)}


@contextmanager
def ray_cluster(nodes: int) -> Iterator:
    """A cluster of several nodes on this machine, with one trial at a time on each; its head only drives."""
    from ray.cluster_utils import Cluster

    before = dict(os.environ)
    os.environ.update(environment())
    cluster = Cluster(initialize_head=True, head_node_args=NODE | {"num_cpus": 0, "include_dashboard": False})
    try:
        yield cluster, [cluster.add_node(**NODE) for _ in range(nodes)]
    finally:
        for node in list(cluster.worker_nodes):
            cluster.remove_node(node, allow_graceful=False)
        cluster.shutdown()
        os.environ.clear()
        os.environ.update(before)


# Speed ----------------------------------------------------------------------------------------------------------------


def measure(folder: Path, trials: int, nodes: int) -> None:
    """Run all trials undisturbed, and print where the time went."""
    (folder / "spec.toml").write_text(spec_text(trials))
    with ray_cluster(nodes) as (cluster, _):
        began = time.time()
        assert driver(folder, cluster.address).wait() == 0, (folder / "driver.log").read_text()
        whole = time.time() - began
    run = json.loads((folder / "out" / "driver.json").read_text())
    times = pd.DataFrame(read_rows(folder / "out" / "times.jsonl"))
    gaps = times["began"] - times.groupby("pid")["ended"].shift()
    steady = gaps.notna()  # the first trial of a process imports the package
    parts = {
        "writes of rows": times["append_rows"],
        "writes of checkpoints and notes": times["atomic_write"],
        "training and measuring": times["ended"] - times["began"] - times["append_rows"] - times["atomic_write"],
        "between two trials of a process": gaps,
    }
    files = [*(folder / "out").glob(f"runs/*/{EVALUATIONS}"), *(folder / "out").glob(f"runs/*/{HISTORY}")]
    rows = sum(path.read_text().count("\n") for path in files)
    print(f"{trials} trials on {nodes} nodes: {run['seconds']:.0f} s, {trials / run['seconds']:.1f} trials per second")
    print(f"{rows} rows: {rows / run['seconds']:.0f} per second")
    means = {name: column[steady].mean() for name, column in parts.items()}
    for name, seconds in means.items():
        print(f"    {name:<36}{1e3 * seconds:8.1f} ms per trial {seconds / sum(means.values()):6.1%}")
    print(f"first trial of a process: {times.loc[~steady, 'began'].min() - run['began']:.1f} s after the start")
    print(
        f"driver: {1e3 * run['cpu'] / trials:.1f} ms of CPU per trial, {whole - run['seconds']:.0f} s before and after"
    )
    slowest = max(means, key=means.__getitem__)
    print(
        f"largest part: {slowest}; 10 000 trials on as many nodes take {10_000 / trials * run['seconds'] / 60:.0f} min"
    )


# Disturbances ---------------------------------------------------------------------------------------------------------


def run_disturbed(folder: Path, trials: int) -> list[str]:
    """Run all trials while workers, a node, the driver and the head die; return what happened.

    Raises:
        AssertionError: if a row is missing, twice there or other than that of a serial run, or if a trial was trained
            again after its training was finished.
    """
    (folder / "spec.toml").write_text(spec_text(trials))
    spec = load_spec(folder / "spec.toml")
    out, disturbance = folder / "out", folder / "out" / "disturbance"
    results = ComparisonResults(out, spec)
    out.mkdir()
    results = ComparisonResults.create(out, spec)
    disturbance.mkdir()
    deaths = planned_deaths([str(trial) for trial in results.trials])
    assert max(map(len, deaths.values())) <= RETRIES
    for name, moments in deaths.items():
        for moment in moments:
            (disturbance / f"{moment}-{name}").touch()
    with ray_cluster(3) as (cluster, (slow, lost, _)):
        (disturbance / "slow-node").write_text(slow.node_id)
        (disturbance / "lost-node").write_text(lost.node_id)
        process = driver(folder, cluster.address)
        _wait_for((disturbance / "hangs").exists, process)
        cluster.remove_node(lost, allow_graceful=False)
        cluster.add_node(**NODE)
        _wait_for(lambda: _finished(out) >= trials // 3, process)
        process.kill()
        process.wait()
        before = _finished(out)
        process = driver(folder, cluster.address)  # continues
        _wait_for(lambda: _finished(out) >= 2 * trials // 3, process)
        cluster.remove_node(cluster.head_node, allow_graceful=False)
        assert process.wait(DEADLINE_S) != 0
        after = _finished(out)
    with ray_cluster(2) as (cluster, _):
        assert driver(folder, cluster.address).wait(DEADLINE_S) == 0, (folder / "driver.log").read_text()
    starts = check_trainings(out, deaths)
    compare(spec, folder / "serial", engine=SerialEngine(run_trial=stub_trial), machine=Machine(accelerator="cpu"))
    check_rows(results, ComparisonResults.open(folder / "serial"))
    return [
        f"{trials} trials; {sum(map(len, deaths.values()))} workers and a node were killed, one joined, one was slow",
        f"the driver was killed after {before} trials, the head after {after}",
        f"{starts} starts of {trials} trainings; every row once, and equal to those of a serial run",
    ]


def planned_deaths(names: list[str]) -> dict[str, list[str]]:
    """Return the moments at which the worker of each trial is killed, spread evenly over the trials.

    More than 200 trials have no more deaths than 200: each costs a process that imports everything again.
    """
    stride = math.ceil(len(names) / 200)
    return {
        name: [moment for moment, every in KILLED.items() if number % (every * stride) == 0]
        for number, name in enumerate(names, start=1)
    }


def _finished(out: Path) -> int:
    path = out / "times.jsonl"
    return len({row["trial"] for row in read_rows(path)}) if path.exists() else 0


def _wait_for(condition, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert process.poll() is None, f"the driver ended with {process.returncode}"
        assert time.monotonic() < deadline
        time.sleep(0.1)


def check_trainings(out: Path, deaths: dict[str, list[str]]) -> int:
    """Check the order of each training's events; return the number of starts."""
    events = pd.DataFrame(read_rows(out / "trainings.jsonl"))
    for name, group in events.groupby("trial"):
        assert list(group["event"]).index("end") == len(group) - 1, f"{name} was trained twice: {list(group['event'])}"
        assert list(group["epoch"].dropna()) == sorted(group["epoch"].dropna()), f"{name} began anew"
    assert set(events["trial"]) == set(deaths)
    return int((events["event"] == "start").sum())


def check_rows(results: ComparisonResults, serial: ComparisonResults) -> None:
    """Check that each row of each trial is stored once, and equal to that of a serial run."""
    for trial in results.trials:
        for name in (EVALUATIONS, HISTORY):
            rows = [read_rows(folder.run_folder(trial) / name) for folder in (results, serial)]
            assert rows[0] == rows[1] != [], f"{trial}: rows of {name} differ"


if __name__ == "__main__":
    main()
