"""What the command checks before a step, and what it leaves for a person."""

import json

import pytest
import torch
from sd_runs import config

import unlearnlab as ul
import unlearnlab.stable_diffusion.__main__ as command
from unlearnlab.diffusion.model import Effort
from unlearnlab.diffusion.quadrature import predict
from unlearnlab.stable_diffusion import Prompt, preflight, report
from unlearnlab.stable_diffusion.__main__ import main
from unlearnlab.stable_diffusion.tiny import untrained


@pytest.fixture
def model(untrained_folder):
    return untrained_folder


def test_what_a_person_sees(model, tmp_path, capsys):
    path, out = config(tmp_path, model)
    path.write_text(path.read_text().replace("evaluate: false", "evaluate: true"))
    with_effort(lambda: main(["--config", str(path)]))
    said = json.loads((out / "report.json").read_text())
    shown = capsys.readouterr().out
    for i, prompt in enumerate(("a horse", "a cactus")):
        line = next(one for one in shown.splitlines() if one.startswith(prompt))
        assert "≥ 0.5" in line and f"{said['constraints after'][i]:.4g}" in line
        assert f"{said['constraints before'][i]:.4g}" in line
        assert line.endswith("yes" if said["met"][i] else "NO")
    roles = {prompt: one["role"] for prompt, one in said["prompts"].items()}
    assert roles == {
        "a cowboy": "retain",
        "a horse": "forget",
        "a cactus": "forget",
        "a tree": "unrelated",
    }
    assert all(f"{one['moved']:.3f}" in shown for one in said["prompts"].values())
    for name in ("lora", "report.json", "before_and_after.png"):
        assert str(out / name) in shown and (out / name).exists()


def with_effort(call):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Prompt, "effort", Effort(4, 4, 4, 8, pool=(2, 4), training=(2, 4)))
        call()


def test_rows_of_the_sheet_say_what_they_are():
    """A label is words on white, as high as it needs lines; the rows follow in order."""
    short, long = report.label("before: a cowboy", 320), report.label("a cowboy " * 20, 320)
    assert short.shape[1:] == (20, 320) and long.shape[1] > 2 * short.shape[1]
    assert float(short.min()) == -1 and not torch.equal(short, report.label("after: a", 320))
    images = torch.stack([torch.full((3, 32, 32), value) for value in (-1.0, 0.0)])
    one = report.Pictures("retain", "a cowboy", images, -images, (0, 0))
    sheet = report.sheet_of([one])
    assert torch.equal(sheet[:, :20], short)
    assert torch.equal(sheet[:, 20 + 68 : 40 + 68], report.label("after: a cowboy", 320))
    assert sheet[0, 20 + 34, 34] == -1 and sheet[0, 40 + 68 + 34, 34] == 1
    assert one.moved == pytest.approx(0.5**0.5)


def test_a_report_that_fails_costs_the_report_alone(model, tmp_path, monkeypatch):
    path, out = config(tmp_path, model)
    run, drawn = ["--config", str(path)], report.drawn

    def fails(*arguments):
        assert (out / "lora" / "pytorch_lora_weights.safetensors").exists()
        raise OSError("no space left")

    monkeypatch.setattr(report, "drawn", fails)
    with pytest.raises(RuntimeError, match=r"no space left.*saved in .*lora.*--resume makes"):
        main(run)
    assert sorted(one.name for one in out.iterdir()) == [
        ".run.lock",
        "grids",
        "lora",
        "run.safetensors",
        "run.safetensors.previous",
    ]
    monkeypatch.setattr(report, "drawn", drawn)
    main([*run, "--resume"])
    assert (out / "report.json").exists()


def test_numbers_that_are_none_are_null(tmp_path):
    report.write(
        tmp_path, {"a": [float("nan"), 1.0], "b": {"c": float("inf")}}, torch.ones(3, 2, 2)
    )
    assert json.loads((tmp_path / "report.json").read_text()) == {
        "a": [None, 1.0],
        "b": {"c": None},
    }
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ("sample_steps: 3", "sample_steps: 5000"),
            "sample_steps: .*5000",
        ),
        (("sampling_steps: 3", "sampling_steps: 5000"), "options: sampling_steps: .*5000"),
        (("a tree", "a zebra"), "never seen: zebra"),
        (("a tree", "A  Cowboy"), r"unrelated\[0\] 'A  Cowboy' is to the text encoder what retain"),
        (("a cactus", "A horse"), r"forget\[1\] 'A horse' is to .* what forget\[0\] 'a horse'"),
        (("a tree", "a " * 40), "would be cut off"),
        (("rank: 2", "rank: 2\nreference: ''"), "reference is of problem likelihood"),
        (
            ("rank: 2", "rank: 2\ntracker: tensorbord"),
            "did you mean 'tensorboard'",
        ),
        (("rank: 2", "rank: 2\ntracker: comet_ml"), "tracker 'comet_ml' is not installed"),
        (("rank: 2", "rank: 2\nsafety: on"), "has no safety checker, and safety is on"),
    ],
)
def test_what_would_fail_after_hours_fails_before_a_step(
    model, tmp_path, monkeypatch, change, message
):
    path, out = config(tmp_path, model)
    text = path.read_text().replace(*change)
    assert text != path.read_text()
    path.write_text(text)
    monkeypatch.setattr(command, "finetune", None)  # never reached
    with pytest.raises(ValueError, match=message):
        main(["--config", str(path)])
    assert not out.exists() or not list(out.iterdir())


def test_an_out_that_cannot_be_written(model, tmp_path):
    path, out = config(tmp_path, model)
    out.write_text("a file")
    with pytest.raises(ValueError, match=r"out .*out' cannot be written to"):
        main(["--config", str(path)])
    assert out.read_text() == "a file"


def test_checkpointing_and_slicing_change_what_is_kept_and_not_what_is_drawn(model, tmp_path):
    """The estimate is what a pass of more rows keeps, within a tenth."""
    kept, weights = {}, {}
    for lean in (False, True):
        folder = tmp_path / str(lean)
        folder.mkdir()
        path, out = config(folder, model)
        more = f"checkpointing: {lean}\nattention_slicing: {lean}\n"
        path.write_text(path.read_text() + more)
        main(["--config", str(path)])
        sd = ul.TextToImage.from_pretrained(model)
        preflight.settle(command.Config.load(path), sd)
        pupil = sd.lora(rank=2, text="a cowboy").for_training()
        one, eight = (preflight.kept_by(pupil, rows) for rows in (1, 8))
        assert eight == pytest.approx(8 * one, rel=0.1)
        kept[lean] = eight
        student = sd.load_lora(out / "lora", text="a cowboy")
        x = torch.randn((4, 4, 8, 8), generator=torch.Generator().manual_seed(0))
        weights[lean] = predict(student, x, torch.full((4,), 300))
    assert kept[True] < kept[False] / 2
    assert float((weights[True] - weights[False]).abs().max()) < 1e-3


def test_what_a_run_is_not_continued_with_is_said(model, tmp_path):
    path, out = config(tmp_path, model)
    main(["--config", str(path)])
    before = (out / "run.safetensors").read_bytes()
    path.write_text(path.read_text().replace("lr: 0.02", "lr: 0.03"))
    with pytest.raises(ValueError, match=r"its settings lr is 0.02, here it is 0.03"):
        main(["--config", str(path), "--resume"])
    assert (out / "run.safetensors").read_bytes() == before


def test_a_run_is_not_continued_on_other_weights_of_the_same_name(tmp_path):
    untrained().save_pretrained(tmp_path / "pipeline")
    path, out = config(tmp_path, tmp_path / "pipeline")
    main(["--config", str(path)])
    before = (out / "run.safetensors").read_bytes()
    other = untrained()
    other.unet.conv_in.weight.data[0, 0, 0, 0] += 1e-3
    other.save_pretrained(tmp_path / "pipeline")
    with pytest.raises(ValueError, match="is of another run: its networks is"):
        main(["--config", str(path), "--resume"])
    assert (out / "run.safetensors").read_bytes() == before
