"""Trials on a real Ray cluster of two nodes on this machine: the rows of a serial run, whatever dies."""

import os
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import pytest
from support import engine_runs
from support.engine_runs import MIXED, SGD, RecordedProgress, assert_same_rows, create_results

from aimc_robust.errors import InputError, MissingDependencyError, ResultsError
from aimc_robust.experiments.execution.engines import ray as ray_engine
from aimc_robust.experiments.execution.engines import ray_cluster
from aimc_robust.experiments.execution.engines.ray import RayEngine, check_node, package_versions
from aimc_robust.experiments.execution.trial_runner import RunContext
from aimc_robust.experiments.results.trial import Trial
from aimc_robust.training.fabric import Machine

ray = pytest.importorskip("ray", reason="needs the extra [cluster]")

TESTS = Path(__file__).parents[3]
LIGHT = {"num_cpus": 1, "object_store_memory": 80 * 2**20}


# Before the tests of the cluster, which it would join.
LISTENING = """
import os
from pathlib import Path
from aimc_robust.experiments.execution.engines.ray_cluster import connect

def family(pid):
    yield pid
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        yield from family(child)

def addresses():
    rows = [row.split() for name in ("tcp", "tcp6") for row in open(f"/proc/net/{name}").readlines()[1:]]
    listening = {f"socket:[{row[9]}]": row[1].partition(":")[0] for row in rows if row[3] == "0A"}
    for pid in family(os.getpid()):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            try:
                yield listening.get(os.readlink(link))
            except OSError:
                pass

if __name__ == "__main__":
    with connect(None):
        import ray
        ray.get(ray.remote(num_cpus=0)(lambda: None).remote())
        print(*sorted(set(filter(None, addresses()))))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks for sockets in /proc")
def test_a_ray_that_the_command_starts_listens_on_loopback_only(tmp_path):
    (tmp_path / "script.py").write_text(LISTENING)
    environment = os.environ | {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    environment |= {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, tmp_path / "script.py"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) == {"0100007F", "0000000000000000FFFF00000100007F"}  # 127.0.0.1 in /proc/net


@pytest.fixture(scope="module")
def cluster():
    """A head and a second node, of a CPU each; this process is connected."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_AUTH_MODE", "disabled")  # no token in the home folder of who tests
        patch.setenv("RAY_worker_niceness", "0")  # else its workers wait for every other program
        patch.setenv("PYTHONPATH", str(TESTS))  # where its workers find the trials of these tests
        found = Cluster(initialize_head=True, head_node_args={**LIGHT, "include_dashboard": False})
        try:
            found.add_node(**LIGHT)
            with ray_cluster.connect(found.address):
                yield found
        finally:
            found.shutdown()


def context_in(folder):
    return RunContext(folder, folder, machine=Machine(accelerator="cpu"))


@pytest.mark.slow
def test_a_cluster_leaves_the_rows_of_a_serial_run_also_when_a_worker_is_killed(
    cluster, finished_comparison, write_spec, tmp_path
):
    store, heard = create_results(write_spec(), tmp_path / "out"), RecordedProgress()
    found = RayEngine(retries=1, run_trial=engine_runs.die_once).run(context_in(store.folder), store.trials, heard)
    assert found == dict.fromkeys(store.trials)
    assert list(found) == store.trials
    assert_same_rows(store.folder, finished_comparison, store.trials)
    end = [*(("evaluating", target.name) for target in store.spec.build_targets()), "finished"]
    once = [("training", 0), ("epoch", 1), ("epoch", 2), ("epoch", 3)]
    for trial in (*SGD, MIXED[0]):
        calls = heard.calls[str(trial)]
        assert [*calls[:-1], calls[-1][0]] == [*once, *end]
    # What the killed process had not sent yet is lost to those who watch, not to the rows.
    calls = heard.calls["m-rwp-seed1"]
    assert calls[calls.index(("training", 2)) :][:2] == [("training", 2), ("epoch", 3)]
    assert [file.name for file in store.folder.iterdir() if file.name.startswith(".")] == []  # no token is left


@pytest.mark.slow
def test_the_trial_of_a_node_that_is_gone_goes_on_elsewhere(cluster, finished_comparison, write_spec, tmp_path):
    node = cluster.add_node(**LIGHT)
    store = create_results(write_spec(), tmp_path / "out")
    (store.folder / "stalling-node").write_text(node.node_id)

    def remove():
        deadline = time.monotonic() + 120
        while not any(store.folder.glob("stalled-*")) and time.monotonic() < deadline:
            time.sleep(0.05)
        cluster.remove_node(node, allow_graceful=False)

    removal = threading.Thread(target=remove)
    removal.start()
    trials = [SGD[0], *MIXED]
    found = RayEngine(run_trial=engine_runs.stall_on_node).run(context_in(store.folder), trials, RecordedProgress())
    removal.join()
    assert found == dict.fromkeys(trials)
    assert len(list(store.folder.glob("stalled-*"))) == 1
    assert_same_rows(store.folder, finished_comparison, trials)


@pytest.mark.slow
def test_a_cluster_runs_as_many_trials_at_a_time_as_it_has_cpus_in_as_many_processes(cluster, tmp_path):
    heard, trials = RecordedProgress(), [Trial("sgd", seed) for seed in range(8)]
    RayEngine(run_trial=engine_runs.report_span).run(context_in(tmp_path), trials, heard)
    spans = [call[1] for calls in heard.calls.values() for call in calls if call[0] == "finished"]
    assert len(spans) == 8
    assert len({span["pid"] for span in spans}) == 2  # a waiting task would make room for a further one
    for moment in (span["began"] for span in spans):
        assert sum(span["began"] <= moment < span["ended"] for span in spans) <= 2


@pytest.mark.slow
def test_what_a_trial_raises_is_raised_after_the_others_are_done(cluster, tmp_path):
    heard = RecordedProgress()
    with pytest.raises(OSError, match="No space left") as caught:
        RayEngine(run_trial=engine_runs.raise_disk_full).run(context_in(tmp_path), [SGD[0], *MIXED], heard)
    assert caught.value.filename == str(tmp_path)
    assert any("raise_disk_full" in note for note in caught.value.__notes__)
    assert [heard.calls[str(trial)][0][0] for trial in [SGD[0], *MIXED]] == ["failed", "finished", "finished"]


@pytest.mark.slow
def test_a_node_that_does_not_see_the_folder_ends_the_run_with_one_sentence(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "touch", lambda self: None)  # of the token: no node sees it
    with pytest.raises(ResultsError, match="--out"):
        RayEngine(run_trial=engine_runs.sleep_forever).run(context_in(tmp_path), SGD + MIXED, RecordedProgress())
    assert not list(tmp_path.iterdir())  # no trial began


@pytest.mark.slow
def test_a_trial_that_no_node_has_room_for_is_told(cluster):
    with pytest.warns(UserWarning, match="no node of the Ray cluster has 64 CPUs and 1 GPUs for a trial"):
        ray_cluster.warn_if_no_node_fits(cpus=64, gpus=1)
    with warnings.catch_warnings(action="error"):
        ray_cluster.warn_if_no_node_fits(cpus=1, gpus=0)
    assert ray_cluster.gpus_per_trial(None, accelerator="auto") == 0.0
    assert ray_cluster.gpus_per_trial(0.5, accelerator="auto") == 0.5


def test_another_version_on_a_node_is_told(tmp_path):
    (tmp_path / "token").touch()
    check_node(context_in(tmp_path), "token", package_versions())
    with pytest.raises(ResultsError, match=r"0\.0\.1"):
        check_node(context_in(tmp_path), "token", package_versions() | {"aimc-robust": "0.0.1"})


@pytest.fixture
def inits(monkeypatch):
    """The addresses that Ray is asked to connect to, none of which answers but the last of `answering`."""
    evaluation_inputs, answering = [], ["local"]

    def init(address, **options):
        evaluation_inputs.append(address)
        if address not in answering:
            raise ConnectionError("nobody there")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "shutdown", lambda: evaluation_inputs.append("shutdown"))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return evaluation_inputs, answering


def test_without_an_address_a_running_cluster_comes_before_a_local_ray(inits, monkeypatch):
    evaluation_inputs, answering = inits
    monkeypatch.setattr(ray.util, "get_node_ip_address", lambda: "10.0.0.3")
    with pytest.warns(UserWarning, match=r"listens on the network \(10\.0\.0\.3\)"), ray_cluster.connect(None):
        pass
    assert evaluation_inputs == ["auto", "local", "shutdown"]
    answering.append("auto")
    evaluation_inputs.clear()
    with ray_cluster.connect(None):
        pass
    assert evaluation_inputs == ["auto", "shutdown"]


def test_an_address_that_nobody_answers_at_is_an_error_and_no_local_ray(inits, monkeypatch):
    evaluation_inputs, _ = inits
    with pytest.raises(InputError, match=r"10\.0\.0\.1.*6379"):
        ray_cluster.connect("10.0.0.1:6379").__enter__()
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.2:6379")
    with pytest.raises(InputError, match=r"10\.0\.0\.2"):
        ray_cluster.connect(None).__enter__()
    assert evaluation_inputs == ["10.0.0.1:6379", "10.0.0.2:6379"]


def test_without_ray_the_command_that_installs_it_is_told(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingDependencyError, match=r"'aimc-robust\[cluster\]'"):
        RayEngine().run(context_in(tmp_path), SGD, RecordedProgress())


@pytest.mark.parametrize("wrong", [{"cpus": 0}, {"cpus": 0.5}, {"gpus": -1}, {"retries": -1}])
def test_numbers_that_cannot_be_right_are_refused(wrong):
    with pytest.raises(InputError, match="must be a"):
        RayEngine(**wrong)
    assert ray_engine.RayEngine(cpus=2).threads == 2
