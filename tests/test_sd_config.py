"""Configurations of runs on Stable Diffusion: what they read, and what they refuse."""

import re
from pathlib import Path

import pytest
import torch
from sd_runs import GOOD, written

import unlearnlab as ul
from unlearnlab.stable_diffusion.config import (
    CONFIGS,
    Config,
    shipped,
)
from unlearnlab.training.settings import split_options

ROOT = Path(__file__).parent.parent


def test_a_configuration_says_what_it_says(tmp_path):
    config = Config.load(written(tmp_path, GOOD))
    assert config.forget == ["a horse", "a cactus"] and config.options["steps"] == 3
    assert (config.temperature, config.statistic, config.rank) == ("dim", "ratio", 8)


def test_options_of_the_likelihood_reach_the_problem(tmp_path):
    text = GOOD + "temperature: 2\ncap: 3\n"
    q, q1 = (ul.GaussianMixture([1], [mean], [1]).diffused() for mean in (0, 1))
    problem = Config.load(written(tmp_path, text)).made(q, [q1, q1])
    assert (problem.temperature, problem.cap, problem.statistic) == (2, 3, "ratio")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("problem: likelihood", "problem: likelyhood"), "did you mean 'likelihood'"),
        (("retain:", "retian:"), "key in .*; got 'retian'; did you mean 'retain'"),
        (("retain: a cowboy\n", ""), "needs a prompt to retain"),
        (("out: runs/cowboy\n", ""), "lacks out"),
        (("[a horse, a cactus]", "[a horse"), "is not YAML"),
        (("relative: 0.2", "dtype: float8"), "dtype must be one of float32"),
        (("likelihood", 'forward-kl\nreference: ""'), "reference is of problem likelihood"),
        (("likelihood", "forward-kl\ncap: 2"), "cap is of problem likelihood"),
    ],
)
def test_configurations_that_are_refused(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        Config.load(written(tmp_path, GOOD.replace(*change)))


def test_no_configuration(tmp_path):
    for name in (tmp_path / "none.yaml", "cowboy-hrose", "../configs/cowboy-horse"):
        with pytest.raises(FileNotFoundError, match=r"is no file and .* are cowboy-horse, dog-b"):
            Config.load(name)
    with pytest.raises(ValueError, match="must hold keys and values"):
        Config.load(written(tmp_path, "- a list"))


def test_prompts_from_a_table(tmp_path):
    table = tmp_path / "prompts.csv"
    table.write_text(
        "role,prompt\nretain,a cowboy\nforget,a horse\n"
        'forget,"a cactus, at night"\nunrelated,a tree\n'
    )
    text = "model: tiny\nproblem: reverse-kl\nout: runs\nrelative: 1.5\n"
    config = Config.load(written(tmp_path, text + f"prompts: {table}"))
    assert config.retain == "a cowboy" and config.forget == ["a horse", "a cactus, at night"]
    assert config.unrelated == ["a tree"]
    table.write_text("role,prompt\nretain,a cowboy\nforgot,a horse\n")
    with pytest.raises(ValueError, match=r"role in line 3 .*; got 'forgot'; did you mean 'forget'"):
        Config.load(written(tmp_path, text + f"prompts: {table}"))
    table.write_text("role,prompt\nretain,a cowboy\nretain,a house\nforget,a horse\n")
    with pytest.raises(ValueError, match="one row to retain; it has 2"):
        Config.load(written(tmp_path, text + f"prompts: {table}"))
    table.write_text("kind,prompt\nretain,a cowboy\n")
    with pytest.raises(ValueError, match="columns role and prompt"):
        Config.load(written(tmp_path, text + f"prompts: {table}"))


def test_memory_that_runs_out_is_named(tmp_path):
    from students import Shifted, gaussian

    import unlearnlab as ul

    class Greedy(Shifted):
        def forward(self, x_t, t):
            if (
                int(t[0]) >= 0
                and self.mean.requires_grad
                and (tmp_path / "run.safetensors").exists()
            ):
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")
            return super().forward(x_t, t)

    problem = ul.ReverseKL(gaussian(0.0), [gaussian(1.0)], thresholds=[2.0])
    how = {"batch": 8, "steps": 50, "save_every": 2, "folder": tmp_path, "evaluate": False}
    with pytest.raises(MemoryError, match=r"out of memory in round 2: lower batch.* is kept"):
        ul.finetune(problem, Greedy(), **how)
    assert (tmp_path / "run.safetensors").exists()


def test_the_page_shows_one_that_is_read(tmp_path):
    text = re.search(
        r"```yaml\n(.*?)```", (ROOT / "site" / "prompts.md").read_text(), re.DOTALL
    ).group(1)
    config = Config.load(written(tmp_path, text))
    assert config.forget == ["a photo of a horse"] and config.options["lr"] == 1e-4


@pytest.mark.parametrize("name", shipped())
def test_what_ships_is_read_and_its_options_are_known(name):
    config = Config.load(name)
    own = {"steps", "batch", "lr", "dual_lr", "sampling_steps"}  # of `finetune` itself
    options = {key: v for key, v in config.options.items() if key not in own}
    split_options(options, config.goal.Options)
    assert config.out == f"runs/{name}"
    if not name.startswith("tiny-"):  # the paper's
        assert "Ours: everything else" in (CONFIGS / f"{name}.yaml").read_text()
    if config.problem == "likelihood":  # what the paper says of it
        assert (config.rank, config.options["sampling_steps"]) == (8, 10)


def test_the_papers_experiments_ship():
    cowboy, dogs = Config.load("cowboy-horse"), Config.load("dog-breeds")
    assert (cowboy.model, cowboy.dtype) == ("nota-ai/bk-sdm-tiny", "float16")
    assert cowboy.reference == ""
    assert (dogs.model, dogs.method) == ("CompVis/stable-diffusion-v1-4", "dual-only")
    assert dogs.forget == ["a golden retriever", "a german shepherd", "a brown dog"]


def test_values_from_elsewhere_replace_those_of_the_file(tmp_path, monkeypatch):
    assert Config.load("tiny-cowboy", out="runs/other", model=None).out == "runs/other"
    assert Config.load("tiny-cowboy", model="elsewhere").model == "elsewhere"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny-cowboy").write_text(GOOD)
    assert Config.load("tiny-cowboy").out == "runs/cowboy"  # a file of this name comes first
