"""Two processes share a run: the multipliers and students stay equal, and end where one ends."""

import json
from pathlib import Path

import pytest
from launched import launched

JOB = """
import json, sys
sys.path.insert(0, sys.argv[1])
from accelerate import Accelerator
from students import Shifted, gaussian
import unlearnlab as ul
problem = ul.ReverseKL(gaussian(0.0), [gaussian(1.0)], thresholds=[2.0])
accelerator = Accelerator(cpu=True, mixed_precision=sys.argv[4])
short = {"steps": 300, "dual_lr": 0.05, "evaluate": False}
how = {"primal-dual": short, "tilt": short,
       "gate": {"steps": 1500, "primal_steps": 100, "chains": 64}}
for method, own in how.items():
    run = ul.finetune(problem, Shifted(), method=method, lr=0.02, batch=int(sys.argv[2]),
                      accelerator=accelerator, folder=f"{sys.argv[3]}/{method}",
                      save_every=50, **own)
    read = [run.history[name][:1].tolist() for name in ("constraints", "stderr")]
    said = [accelerator.num_processes, run.status, float(run.multipliers[0]),
            float(run.student.mean), read, repr(run.evaluation)]
    with open(f"{sys.argv[3]}-{method}-{accelerator.process_index}.json", "w") as file:
        json.dump(said, file)
"""


@pytest.mark.parametrize(("processes", "precision"), [(1, "no"), (2, "no"), (1, "bf16")])
def test_processes_agree(tmp_path, processes, precision):
    """The optimum of two unit Gaussians, λ* = ½ and m* = −1, also from halves of each batch."""
    script = tmp_path / "job.py"
    script.write_text(JOB)
    job = [str(script), str(Path(__file__).parent), str(256 // processes), str(tmp_path / "run")]
    launched(processes, *job, precision)
    for method in ("primal-dual", "tilt", "gate"):  # a file each: two may print into one line
        names = [f"run-{method}-{index}.json" for index in range(processes)]
        assert sorted(file.name for file in tmp_path.glob(f"run-{method}-*.json")) == names
        found = [json.loads((tmp_path / name).read_text()) for name in names]
        assert all(one == found[0] for one in found)  # bit for bit the same on both
        told, status, multiplier, mean, read, evaluation = found[0]
        assert told == processes
        if method != "gate":
            assert status == "unchecked" and evaluation == "None"
            assert multiplier == pytest.approx(0.5, abs=0.01)
            assert mean == pytest.approx(-1.0, abs=0.02)
            continue
        assert status == "converged", evaluation
        assert (1 - mean) ** 2 / 2 == pytest.approx(2.0, abs=0.15)  # its reading's slack and errors
        # log p/q₁ of x ~ N(m, 1) has mean (1 − m)²/2 and standard deviation 1 − m
        first, error = (row[0][0] for row in read)
        assert error == pytest.approx((2 * first) ** 0.5 / 64, rel=0.1)  # 4096 draws, of all
        at_end = (1 - mean) / 64 / processes**0.5  # of as many by each
        assert float(evaluation.rstrip(")").split(" ± ")[-1]) == pytest.approx(at_end, rel=0.1)
