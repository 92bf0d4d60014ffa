"""What is lost or passes in silence: kills, signals, two in one folder, damages, threads, disks."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

import unlearnlab as ul
from benchmarks.damages import damages, formats, same
from unlearnlab import data_unlearning, files
from unlearnlab.training import checkpoint
from unlearnlab.training.stopping import as_command

KILLED, AIMED, TERMINATED, SAVES, THREADS = 30, 10, 10, 40, 8
STEPS = 100  # of a run, for each time that it is struck
LATEST = 0.15  # seconds after a checkpoint, at which a process is struck at random
DISK = 8 << 20  # bytes of a small file system
PRELOADED = ["unlearnlab.data_unlearning", "accelerate", "diffusers", "cooper", "benchmarks"]


def begin(log: Path, function: Callable[..., Any], *arguments: Any) -> Any:
    """A call in a process of its own, forked from one that has imported what takes seconds."""
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(PRELOADED)
    job = server.Process(target=logged, args=(log, function, arguments))
    job.start()
    return job


def logged(log: Path, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    with open(log, "a") as file:
        for one in (1, 2):
            os.dup2(file.fileno(), one)
    function(*arguments)


def trained(folder: Path, steps: int) -> Any:
    """A short run with a checkpoint every other round, from where it stands."""
    from cooper.optim import nuPI

    torch.set_num_threads(1)
    q, q1 = (ul.GaussianMixture([1.0], [mean], [1.0]).diffused() for mean in (0.0, 1.0))
    with as_command(speaks=False):
        return ul.finetune(
            ul.ReverseKL(q, [q1], thresholds=[2.0]),
            ul.ScoreNetwork(1, width=16),
            steps=steps,
            batch=64,
            folder=folder,
            resume=True,
            evaluate=False,
            save_every=2,
            dual_optimizer=lambda p: nuPI(p, lr=0.1, Kp=torch.tensor(0.5), maximize=True),
        )


def strikes(
    killed: int = KILLED, aimed: int = AIMED, terminated: int = TERMINATED
) -> dict[str, Any]:
    """One run, struck again and again, against one that is left alone."""
    rng = random.Random(0)
    plan = ["save"] * aimed + ["kill"] * (killed - aimed) + ["terminate"] * terminated
    rng.shuffle(plan)
    steps = STEPS * max(4, len(plan))
    with TemporaryDirectory() as root:
        whole, run = trained(Path(root, "whole"), steps), Path(root, "run")
        lost = sum(not survives(run, steps, how, rng) for how in plan)
        again = trained(run, steps)
    pairs = [
        *zip(again.student.parameters(), whole.student.parameters(), strict=True),
        *((torch.tensor(again.history[key]), torch.tensor(v)) for key, v in whole.history.items()),
    ]
    equal = all(torch.equal(one, other) for one, other in pairs)
    counts = {"killed": killed, "aimed": aimed, "terminated": terminated}
    return counts | {"lost": lost, "equal": equal}


def survives(run: Path, steps: int, how: str, rng: random.Random) -> bool:
    """Whether a struck run leaves a whole checkpoint, no older than the last, and the exit code."""
    before, last = round_of(run), written(run)
    job = begin(run.with_name("log"), trained, run, steps)
    while job.exitcode is None and written(run) == last:
        time.sleep(0.002)
    if how == "save":
        while job.exitcode is None and not any(run.glob(f".{checkpoint.NAME}.*{files.PARTIAL}")):
            pass  # it lasts for a millisecond
    else:
        time.sleep(rng.uniform(0, LATEST))
    if job.exitcode is not None:
        raise RuntimeError(f"the run ended before it could be struck: {job.exitcode}")
    number = signal.SIGTERM if how == "terminate" else signal.SIGKILL
    os.kill(job.pid, number)
    job.join()
    said = 128 + number if how == "terminate" else -number
    return job.exitcode == said and round_of(run) >= max(1, before)


def round_of(run: Path) -> int:
    """The round of a run's checkpoint; 0 where there is none, −1 where it is damaged."""
    path = checkpoint.found(run)
    with suppress(ValueError):
        return 0 if path is None else int(checkpoint.opened(path)[1]["round"])
    return -1


def written(run: Path) -> int:
    """When the checkpoint was written, in nanoseconds."""
    path = run / checkpoint.NAME
    return path.stat().st_mtime_ns if path.exists() else 0


def commands() -> dict[str, int]:
    """Two commands in one folder at once: how many are refused, and whether the other is whole."""
    with TemporaryDirectory() as root:
        model = ul.digits.load_model("unconditional")
        model.save(Path(root, "model"))
        for i, image in enumerate(ul.digits.data().images[:8]):
            ul.images.write_image(Path(root, "images", f"{i}.png"), image)
        given = f"--model {root}/model --images {root}/images --forget {root}/images/0.png"
        given += f" --out {root}/out --relative 1.1 --steps 30 --batch 2"
        logs = [Path(root, f"log{i}") for i in range(2)]
        jobs = [begin(log, data_unlearning.main, given.split()) for log in logs]
        for job in jobs:
            job.join()
        refused = sum("is in use by another run" in log.read_text() for log in logs)
        ended = sorted(job.exitcode for job in jobs) == [0, 1]
        whole = (Path(root, "out", "report.json")).exists()
        if whole:
            ul.DDPM.from_pretrained(Path(root, "out"))
    return {"commands": 2, "refused": refused, "lost": int(not (ended and whole))}


def threads(saves: int = SAVES, count: int = THREADS) -> dict[str, int]:
    """Saves of one file by several threads at once: how many fail."""
    q, q1 = ul.Discrete([0.5, 0.3, 0.2]), ul.Discrete([0.1, 0.1, 0.8])
    solution = ul.solve(ul.Likelihood(q, [q1], 0.2))
    with TemporaryDirectory() as root, ThreadPoolExecutor(count) as pool:
        jobs = [pool.submit(solution.save, Path(root, "answer.npz")) for _ in range(saves)]
        lost = sum(job.exception() is not None for job in jobs)
        lost += not ul.load(Path(root, "answer.npz")).certificate.ok
        lost += len(os.listdir(root)) - 1
    return {"saves": saves, "threads": count, "lost": lost}


@contextmanager
def small_disk() -> Iterator[Path | None]:
    """A file system of its own in memory, which only root may make; None where that is refused."""
    with TemporaryDirectory() as root:
        size = f"size={DISK}"
        mount = ["mount", "-t", "tmpfs", "-o", size, "tmpfs", root]
        if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
            yield None
            return
        try:
            yield Path(root)
        finally:
            subprocess.run(["umount", "--lazy", root], check=True)  # files may still be mapped


def full_disk() -> dict[str, Any]:
    """Writes to a full disk: the old files stay, nothing else is left, and runs are refused."""
    with small_disk() as disk:
        if disk is None:
            return {"skipped": "a file system can only be mounted by root"}
        lost, known = 0, formats()
        for name, form in known.items():
            folder = disk / name
            folder.mkdir()
            form.write(folder)
            before, listed = form.read(folder), sorted(folder.rglob("*"))
            with open(disk / "filler", "wb", buffering=0) as filler, suppress(OSError):
                while True:
                    filler.write(bytes(1 << 12))
            try:
                form.write(folder)
                lost += 1  # it fitted: nothing was tried
            except OSError as error:
                lost += str(folder) not in str(error)
            lost += not same(form.read(folder), before) or sorted(folder.rglob("*")) != listed
            try:
                files.require_writable("out", folder)
                lost += 1
            except ValueError:
                pass
            (disk / "filler").unlink()
            shutil.rmtree(folder)
    return {"formats": len(known), "lost": lost}


MEASURES = {
    "strikes": strikes,
    "commands": commands,
    "damages": damages,
    "threads": threads,
    "full disk": full_disk,
}


def all_damages(got: dict[str, Any]) -> Counter[str]:
    """What became of the damages of all formats."""
    return sum(map(Counter, got["damages"].values()), Counter[str]())


def rows(got: dict[str, Any]) -> list[tuple[str, str, str, bool | None]]:
    """Lines of the table."""
    struck, two, many, disk = (got[k] for k in ("strikes", "commands", "threads", "full disk"))
    equal = "equal" if struck["equal"] else "another end"
    totals = all_damages(got)
    unseen = totals["silent"] + totals["raw"]
    lines: list[tuple[str, str, str, bool | None]] = [
        (
            f"{struck['killed']} SIGKILLs, {struck['aimed']} of them aimed at a save, and "
            f"{struck['terminated']} SIGTERMs, then resumed",
            "0 lost, bit for bit equal",
            f"{struck['lost']} lost, {equal}",
            struck["lost"] == 0 and struck["equal"],
        ),
        (
            "two commands in one folder at once",
            "1 refused, 0 lost",
            f"{two['refused']} refused, {two['lost']} lost",
            two["refused"] == 1 and two["lost"] == 0,
        ),
        (
            f"{sum(totals.values())} damages of files: {', '.join(got['damages'])}",
            "0 silent, 0 raw errors",
            f"{totals['silent']} silent, {totals['raw']} raw, {totals['harmless']} harmless",
            unseen == 0,
        ),
        (
            f"{many['saves']} saves of one file by {many['threads']} threads",
            "0 lost",
            f"{many['lost']} lost",
            many["lost"] == 0,
        ),
    ]
    if "skipped" in disk:
        lines.append(("full disk", "0 lost", f"not measured: {disk['skipped']}", None))
    else:
        what = f"full disk, {disk['formats']} formats: old files kept, runs refused"
        lines.append((what, "0 lost", f"{disk['lost']} lost", disk["lost"] == 0))
    return lines


def sentence(got: dict[str, Any]) -> str:
    """What the README says of it."""
    struck, many, totals = got["strikes"], got["threads"], all_damages(got)
    ends = "bit for bit" if struck["equal"] else "at another end"
    return (
        f"{struck['killed']} SIGKILLs, {struck['aimed']} of them aimed at a save, and "
        f"{struck['terminated']} SIGTERMs lose {struck['lost'] or 'no'} checkpoint, and the run "
        f"ends {ends} where one left alone does; of {sum(totals.values())} damages of saved files "
        f"{totals['noticed']} are named, {totals['harmless']} change nothing that is read, and "
        f"{totals['silent'] or 'none'} is silent; {many['saves']} saves of one file by "
        f"{many['threads']} threads lose {many['lost'] or 'none'}"
    )
