"""The command is killed and continued: the same LoRA, bit for bit, as if never stopped."""

import os
import signal
import subprocess
import sys
import time

import forked
import pytest
import torch
from safetensors.torch import load_file

from unlearnlab.stable_diffusion.__main__ import main
from unlearnlab.stable_diffusion.tiny import untrained

CONFIG = """
model: {folder}/pipeline
problem: reverse-kl
retain: a cowboy
forget: [a horse, a cactus]
thresholds: 0.5
samples: 1
sample_steps: 2
rank: 2
out: {folder}/whole
options: {{steps: 8, lr: 0.02, batch: 2, primal_steps: 1, sampling_steps: 3, evaluate: false,
           save_every: 1}}
"""
LAUNCH = "-m accelerate.commands.launch --cpu --num_processes 1 --num_machines 1"
LAUNCH += " --mixed_precision no --dynamo_backend no"


def started(folder, out, processes, *more):
    """The command: by its launcher, or as the ranks that a launcher of several would start."""
    job = ["--config", str(folder / "run.yaml"), "--out", str(folder / out), *more]
    if processes == 1:
        command = [sys.executable, *LAUNCH.split(), "-m", "unlearnlab.stable_diffusion", *job]
        log = open(folder / "log", "w")  # noqa: SIM115 (until the process ends)
        # It leads a group of its own, to be killed with the worker that it launches.
        alone = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
        return [Launched(command, stdout=log, stderr=log, env=alone, start_new_session=True)]
    return forked.ranks(processes, folder / "log", main, job)


class Launched(subprocess.Popen):
    """With the names of multiprocessing's processes."""

    exitcode = property(subprocess.Popen.poll)
    join = subprocess.Popen.wait


def ended(folder, jobs):
    for job in jobs:
        job.join(timeout=120)
        assert job.exitcode == 0, (folder / "log").read_text()[-3000:]


@pytest.mark.parametrize("processes", [1, 2])
def test_killed_and_resumed_is_bit_identical(tmp_path, processes):
    untrained().save_pretrained(tmp_path / "pipeline")
    (tmp_path / "run.yaml").write_text(CONFIG.format(folder=tmp_path))
    if processes == 1:  # here, to start one process less
        torch.set_num_threads(1)
        main(["--config", str(tmp_path / "run.yaml")])
    else:
        ended(tmp_path, started(tmp_path, "whole", processes))
    jobs = started(tmp_path, "killed", processes)
    while not (tmp_path / "killed" / "run.safetensors").exists():
        assert all(job.exitcode is None for job in jobs), (tmp_path / "log").read_text()[-3000:]
        time.sleep(0.01)
    for job in jobs:
        os.killpg(job.pid, signal.SIGKILL) if processes == 1 else forked.kill(job)
        job.join()
    assert not (tmp_path / "killed" / "report.json").exists()
    ended(tmp_path, started(tmp_path, "killed", processes, "--resume"))
    for name in ("run.safetensors", "lora/pytorch_lora_weights.safetensors"):
        ours, theirs = (load_file(tmp_path / run / name) for run in ("killed", "whole"))
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours), name
    reports = [(tmp_path / run / "report.json").read_text() for run in ("killed", "whole")]
    assert reports[0] == reports[1]
