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
for method in ("primal-dual", "tilt"):
    run = ul.finetune(problem, Shifted(), method=method, lr=0.02, batch=int(sys.argv[2]),
                      steps=300, dual_lr=0.05, evaluate=False, accelerator=accelerator,
                      folder=f"{sys.argv[3]}/{method}", save_every=50)
    said = [accelerator.num_processes, run.status, float(run.multipliers[0]),
            float(run.student.mean)]
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
    for method in ("primal-dual", "tilt"):  # a file for each process: two may print into one line
        names = [f"run-{method}-{index}.json" for index in range(processes)]
        assert sorted(file.name for file in tmp_path.glob(f"run-{method}-*.json")) == names
        found = [json.loads((tmp_path / name).read_text()) for name in names]
        assert all(one == found[0] for one in found)  # bit for bit the same on both
        told, status, multiplier, mean = found[0]
        assert told == processes and status == "unchecked"
        assert multiplier == pytest.approx(0.5, abs=0.01)
        assert mean == pytest.approx(-1.0, abs=0.02)
