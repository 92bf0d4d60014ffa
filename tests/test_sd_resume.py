"""The command is killed and continued: the same LoRA, bit for bit, as if never stopped."""

import os
import signal
import socket
import subprocess
import sys
import time

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
    """The command, in as many processes; each leads a group of its own, to be killed whole."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    job = ["-m", "unlearnlab.stable_diffusion", "--config", str(folder / "run.yaml")]
    job += ["--out", str(folder / out), *more]
    command = [sys.executable, *(LAUNCH.split() if processes == 1 else []), *job]
    jobs = []
    for rank in range(processes):
        environment = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
        if processes > 1:  # what a launcher sets, whose workers would outlive it if it were killed
            environment |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            environment |= {"WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes)}
            environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        jobs.append(
            subprocess.Popen(
                command,
                env=environment,
                start_new_session=True,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    return jobs


def ended(jobs):
    for job in jobs:
        said = job.communicate(timeout=120)[1]
        assert job.returncode == 0, said[-3000:]


@pytest.mark.parametrize("processes", [1, 2])
def test_killed_and_resumed_is_bit_identical(tmp_path, processes):
    untrained().save_pretrained(tmp_path / "pipeline")
    (tmp_path / "run.yaml").write_text(CONFIG.format(folder=tmp_path))
    if processes == 1:  # here, to start one process less
        torch.set_num_threads(1)
        main(["--config", str(tmp_path / "run.yaml")])
    else:
        ended(started(tmp_path, "whole", processes))
    jobs = started(tmp_path, "killed", processes)
    while not (tmp_path / "killed" / "run.safetensors").exists():
        assert all(job.poll() is None for job in jobs), jobs[0].stderr.read()[-3000:]
        time.sleep(0.01)
    for job in jobs:
        os.killpg(job.pid, signal.SIGKILL)
        job.communicate()
    assert not (tmp_path / "killed" / "report.json").exists()
    ended(started(tmp_path, "killed", processes, "--resume"))
    for name in ("run.safetensors", "lora/pytorch_lora_weights.safetensors"):
        ours, theirs = (load_file(tmp_path / run / name) for run in ("killed", "whole"))
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours), name
    reports = [(tmp_path / run / "report.json").read_text() for run in ("killed", "whole")]
    assert reports[0] == reports[1]
