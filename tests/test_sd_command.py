"""`python -m unlearnlab.stable_diffusion` from a configuration to a saved LoRA."""

import json

import pytest
import torch
from launched import launched
from sd_runs import config

import unlearnlab as ul
from unlearnlab.diffusion.model import Effort
from unlearnlab.diffusion.quadrature import predict
from unlearnlab.stable_diffusion import Prompt
from unlearnlab.stable_diffusion.__main__ import main
from unlearnlab.stable_diffusion.config import CONFIGS


@pytest.fixture
def model(untrained_folder):
    return untrained_folder


def test_from_a_configuration_to_a_saved_student(model, tmp_path, capsys):
    path, out = config(tmp_path, model)
    main(["--config", str(path)])
    said = json.loads((out / "report.json").read_text())
    shown = capsys.readouterr().out
    assert "{" not in shown and "a step of 4 rows takes about" in shown
    assert len(said["multipliers"]) == 2
    assert (out / "lora" / "pytorch_lora_weights.safetensors").exists()
    assert (out / "before_and_after.png").exists()
    assert sorted(p.name for p in (out / "grids").iterdir()) == [
        "round_000002.png",
        "round_000004.png",
    ]
    with pytest.raises(ValueError, match="already holds a run"):
        main(["--config", str(path)])
    main(["--config", str(path), "--resume"])  # it has ended: the same report again
    assert json.loads((out / "report.json").read_text()) == said


def test_two_processes_give_what_one_gives(model, tmp_path):
    """One process with two batches to a step, and two with one batch each."""
    found = []
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        folder.mkdir()
        path, out = config(folder, model, problem="likelihood", accumulation=2 // processes)
        if processes == 1:  # here, to start a process less
            main(["--config", str(path)])
        else:
            launched(processes, "-m", "unlearnlab.stable_diffusion", "--config", path)
        found.append(out / "lora")
    # Adam makes a full step of rounding where a gradient is zero: what the students predict is
    # compared, not each weight.
    sd = ul.TextToImage.from_pretrained(model)
    x = torch.randn((8, 4, 8, 8), generator=torch.Generator().manual_seed(0))
    t = torch.linspace(0, 999, 8).long()
    base = predict(sd.prompt("a cowboy"), x, t)
    one, two = (predict(sd.load_lora(out, text="a cowboy"), x, t) for out in found)
    assert float((one - base).norm()) > 1e-3 * float(base.norm())
    assert float((two - one).norm() / (one - base).norm()) < 1e-3


@pytest.mark.parametrize(
    ("problem", "method", "options"),
    [
        ("reverse-kl", "dual-only", "sampling_steps: 3"),
        ("reverse-kl", "esd", "sampling_steps: 3"),
        ("forward-kl", "vdu", "forget_clip: 1.0"),
        ("likelihood", "tilt", "pool: 64"),  # untrained, all prompts are nearly one
    ],
)
def test_every_other_method_runs(model, tmp_path, monkeypatch, problem, method, options):
    monkeypatch.setattr(Prompt, "effort", Effort(4, 4, 4, 8, pool=(2, 4), training=(2, 4)))
    path, out = config(tmp_path, model, problem=problem)
    text = path.read_text().replace("sampling_steps: 3", options)
    text = text.replace("thresholds: 0.5", f"thresholds: {0.995 if method == 'tilt' else 0.5}")
    path.write_text(text.replace("out:", f"method: {method}\nout:"))
    main(["--config", str(path)])
    said = json.loads((out / "report.json").read_text())
    assert len(said["multipliers"]) == 2 and said["status"] != "diverged"
    assert len(list((out / "grids").iterdir())) > 0
    trained = method != "dual-only"
    assert (out / "lora" / "pytorch_lora_weights.safetensors").exists() == trained


def test_one_that_ships_runs_on_another_model(model, tmp_path, monkeypatch):
    """Untrained, all prompts are one: the constraint is violated by as much as it asks for."""
    monkeypatch.setattr(Prompt, "effort", Effort(4, 4, 4, 4, pool=(2, 4), training=(2, 4)))
    text = (CONFIGS / "tiny-cowboy.yaml").read_text()
    text = text.replace("steps: 200, batch: 16", "steps: 2, batch: 2")
    (tmp_path / "tiny-cowboy").write_text(text + "sample_steps: 2\nsamples: 2\n")
    monkeypatch.chdir(tmp_path)
    main(["--config", "tiny-cowboy", "--model", str(model), "--out", "here"])
    said = json.loads((tmp_path / "here" / "report.json").read_text())
    assert said["thresholds"] == [8.0] and said["multipliers"][0] > 0
    assert (tmp_path / "here" / "lora" / "pytorch_lora_weights.safetensors").exists()
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("problem", "method", "options", "guidance", "batches"),
    [
        ("reverse-kl", "primal-dual", "sampling_steps: 3", 1, 1),
        ("reverse-kl", "primal-dual", "sampling_steps: 3", 2, 2),  # with and without the prompt
        ("forward-kl", "primal-dual", "forget_clip: 1.0", 1, 3),  # of the retained, and of two
        ("forward-kl", "vdu", "forget_clip: 1.0", 1, 2),
    ],
)
def test_the_trial_step_is_as_large_as_any(
    model, tmp_path, monkeypatch, problem, method, options, guidance, batches
):
    from diffusers import UNet2DConditionModel

    forward, rows = UNet2DConditionModel.forward, []

    def counted(unet, x, *arguments, **named):
        if torch.is_grad_enabled():
            rows.append(len(x))
        return forward(unet, x, *arguments, **named)

    monkeypatch.setattr(UNet2DConditionModel, "forward", counted)
    monkeypatch.setattr(Prompt, "effort", Effort(4, 4, 4, 8, pool=(2, 4), training=(2, 4)))
    path, _ = config(tmp_path, model, problem=problem)
    text = path.read_text().replace("sampling_steps: 3", options)
    path.write_text(text + f"method: {method}\nguidance: {guidance}\n")
    main(["--config", str(path)])
    assert rows[0] == guidance  # a row for the estimate: with and without the prompt
    assert rows[1] == 4 * batches == max(rows[2:])
