"""The benchmark on a cluster of Dask's: a worker is lost on the way, and no point is."""

import os

import joblib
import pytest

from unlearnlab import benchmark

distributed = pytest.importorskip("distributed", reason="Dask comes with the test extra")
HOW = {"tasks": ["line-mild", "line-severe"], "axes": ["deviation"]}


def dying(marker):
    """A method whose first call takes its process with it."""

    def method(task):
        if not marker.exists():
            marker.touch()
            os._exit(1)
        return task.retain

    return method


@pytest.mark.filterwarnings("ignore")  # of tornado, on a worker that is gone
def test_a_cluster_that_loses_a_worker_loses_no_point(tmp_path):
    method = dying(tmp_path / "gone")
    settings = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with (
        distributed.LocalCluster(processes=True, silence_logs=50, **settings) as cluster,
        distributed.Client(cluster),
        joblib.parallel_config("dask"),
    ):
        found = benchmark.run({"mine": method}, seeds=[0, 1, 2], folder=tmp_path / "out", **HOW)
    assert (tmp_path / "gone").exists() and len(found.points) == 6
    assert {(one.task, one.seed) for one in found.points} == {
        (task, seed) for task in HOW["tasks"] for seed in range(3)
    }
    files = list((tmp_path / "out" / "points").glob("*.json"))
    assert len(files) == 6
    # What was computed there is read here: it is the same method.
    times = {path: path.stat().st_mtime_ns for path in files}
    benchmark.run({"mine": method}, seeds=[0, 1, 2], folder=tmp_path / "out", **HOW)
    assert times == {path: path.stat().st_mtime_ns for path in files}
