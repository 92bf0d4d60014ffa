"""Runs that start from the student of an earlier one."""

import pytest
import torch
from sd_runs import GOOD, config, written

import unlearnlab as ul
from unlearnlab import data_unlearning
from unlearnlab.stable_diffusion import __main__ as command
from unlearnlab.stable_diffusion.config import Config
from unlearnlab.stable_diffusion.lora_file import found_at
from unlearnlab.stable_diffusion.tiny import untrained


class BegunError(Exception):
    """What a run would have started from."""


@pytest.fixture
def seen(monkeypatch):
    """The student that a command hands to `finetune`, and what it is trained on."""

    def finetune(problem, student, **how):
        raise BegunError(problem, student)

    for module in (command, data_unlearning):
        monkeypatch.setattr(module, "finetune", finetune)

    def of(main, arguments):
        with pytest.raises(BegunError) as begun:
            main(arguments)
        return begun.value.args

    return of


def test_a_prompt_s_run_starts_from_an_earlier_lora(tmp_path, seen):
    untrained().save_pretrained(tmp_path / "pipeline")
    sd = ul.TextToImage.from_pretrained(tmp_path / "pipeline")
    earlier = sd.lora(rank=3, seed=5)
    with torch.no_grad():
        for p in earlier.parameters():
            p += 0.01 * p.requires_grad
    earlier.save(tmp_path / "run" / "lora")
    (tmp_path / "run" / "run.safetensors").touch()  # no LoRA
    path, _ = config(tmp_path, tmp_path / "pipeline")
    wanted = [p for p in earlier.parameters() if p.requires_grad]
    _, student = seen(command.main, ["--config", str(path), "--init", str(tmp_path / "run")])
    found = [p for p in student.parameters() if p.requires_grad]
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))
    places = ("run", "run/lora", "run/lora/pytorch_lora_weights.safetensors")
    assert len({found_at(tmp_path / place) for place in places}) == 1


def test_a_lora_that_is_not_there_is_refused_before_anything_is_loaded(tmp_path):
    path = written(tmp_path, GOOD + f"init: {tmp_path}/none\n")
    with pytest.raises(
        ValueError, match=r"init: no LoRA at .*none': there is no such file or folder"
    ):
        Config.load(path)
    path = written(tmp_path, GOOD + f"method: dual-only\ninit: {tmp_path}\n")
    with pytest.raises(ValueError, match="init is of methods with a student; dual-only has none"):
        Config.load(path)


def test_an_image_s_run_starts_from_an_earlier_student(tmp_path, seen):
    model = ul.digits.load_model("unconditional")
    images = ul.digits.data().images
    for i in range(3):
        ul.images.write_image(tmp_path / "images" / f"{i}.png", images[i])
    model.save(tmp_path / "model")
    earlier = model.for_training()
    with torch.no_grad():
        next(earlier.parameters()).add_(0.1)
    earlier.save(tmp_path / "run" / "student")
    given = f"--model {tmp_path}/model --images {tmp_path}/images --out {tmp_path}/out "
    given += f"--forget {tmp_path}/images/0.png --threshold 10 --init {tmp_path}/run"
    problem, student = seen(data_unlearning.main, given.split())
    assert torch.equal(next(student.parameters()), next(earlier.parameters()))
    assert torch.equal(next(problem.retain.parameters()), next(model.parameters()))
