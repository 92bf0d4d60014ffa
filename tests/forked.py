"""Processes that start at once: forked from one that has imported what takes seconds."""

import functools
import multiprocessing
import os
import signal
import socket
import sys

import torch

IMPORTED = [
    "unlearnlab.stable_diffusion.__main__",
    "diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion",
    "transformers.models.clip.modeling_clip",
    "accelerate",
    "cooper",
    "peft",
    "pytest",
]


@functools.cache
def server():
    """Python's own fork server: a process of one thread, so that a fork of it is safe."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(IMPORTED)
    return context


def begin(log, environment, function, *arguments):
    """function(*arguments) in a process of its own, whose errors are kept in a file."""
    job = server().Process(target=_call, args=(log, environment, function, arguments))
    job.start()
    return job


def ranks(count, log, function, *arguments):
    """function(*arguments) in as many processes, each told what a launcher would tell it.

    A launcher that is killed leaves its workers behind; these are our own.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count), "MASTER_PORT": port}
    common |= {"MASTER_ADDR": "127.0.0.1", "ACCELERATE_USE_CPU": "true"}
    return [
        begin(log, common | {"RANK": str(i), "LOCAL_RANK": str(i)}, function, *arguments)
        for i in range(count)
    ]


def _call(log, environment, function, arguments):
    os.environ |= environment
    torch.set_num_threads(1)
    sys.stdout = sys.stderr = open(log, "a", buffering=1)  # noqa: SIM115 (until the process ends)
    function(*arguments)


def kill(job):
    """At once, as a scheduler or a power cut does."""
    os.kill(job.pid, signal.SIGKILL)
    job.join()
