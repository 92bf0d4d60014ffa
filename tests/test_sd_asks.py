"""What a configuration can ask for beside prompts to forget: anchors, images, what is to stay."""

import json

import pytest
import torch
from diffusers import StableDiffusionPipeline

import unlearnlab as ul
from unlearnlab.diffusion.model import Effort
from unlearnlab.diffusion.quadrature import predict
from unlearnlab.images import write_image
from unlearnlab.stable_diffusion import judges
from unlearnlab.stable_diffusion.__main__ import asked, main
from unlearnlab.stable_diffusion.config import Config
from unlearnlab.stable_diffusion.prompt import Prompt

RUN = """
model: {model}
problem: {problem}
retain: a cowboy
{more}
samples: 2
sample_steps: 3
rank: 2
out: {out}
options: {{steps: 4, lr: 0.02, batch: 4, evaluate: false{options}}}
"""
BRIGHT = """
import torch

def bright(images, name):
    return (images.mean((1, 2, 3)) + 1) / 2

def wrong(images, name):
    return images
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Weights are random: what is measured of them says nothing."""
    monkeypatch.setattr(Prompt, "effort", Effort(4, 4, 4, 8, pool=(2, 4), training=(2, 4)))


def written(folder, model, more, *, problem="likelihood", options=""):
    text = {"model": model, "problem": problem, "out": folder / "out", "options": options}
    (folder / "run.yaml").write_text(RUN.format(more=more, **text))
    return folder / "run.yaml"


@pytest.mark.parametrize("method", ["ablation", "fdivergence"])
def test_an_anchor_is_what_is_drawn_instead(untrained_folder, tmp_path, method):
    """The student comes nearer to the anchor's predictions, and moves."""
    more = f"forget: [a horse]\nanchor: a tree with a ball\nmethod: {method}\nthresholds: 1.0"
    path = written(tmp_path, untrained_folder, more, problem="forward-kl", options="")
    path.write_text(path.read_text().replace("steps: 4", "steps: 40"))
    main(["--config", str(path)])
    sd = ul.TextToImage.from_pretrained(untrained_folder)
    student = sd.load_lora(tmp_path / "out", text="a cowboy")
    x, t = (
        torch.randn((16, *sd.shape), generator=torch.Generator().manual_seed(0)),
        torch.arange(16),
    )
    found, before, anchor = (
        predict(one, x, 60 * t)
        for one in (student, sd.prompt("a cowboy"), sd.prompt("a tree with a ball"))
    )
    assert torch.dist(found, before) > 0
    if method == "ablation":
        assert torch.dist(found, anchor) < torch.dist(before, anchor)


def test_images_are_forgotten_beside_prompts(untrained_folder, tmp_path):
    generator = torch.Generator().manual_seed(0)
    images = torch.rand((3, 3, 32, 32), generator=generator) * 2 - 1
    for i, image in enumerate(images):
        write_image(tmp_path / "pictures" / f"{i}.png", image)
    more = f"forget: [a horse]\nforget_images: {tmp_path / 'pictures'}\nthresholds: [1.0, 2.0]"
    path = written(tmp_path, untrained_folder, more, problem="forward-kl")
    config = Config.load(path)
    sd = ul.TextToImage.from_pretrained(untrained_folder)
    problem, _ = asked(config, sd)
    assert problem.m == 2 and config.rows == 4 * 3
    held = problem.forget[1].samples
    exact = sd.encode(images)
    assert float((held - exact).abs().max()) < 0.05 * float(exact.std())  # eight bits of a PNG
    main(["--config", str(path)])
    said = json.loads((tmp_path / "out" / "report.json").read_text())
    assert said["thresholds"] == [1.0, 2.0]


def test_what_is_to_stay_is_a_constraint(untrained_folder, tmp_path, monkeypatch, capsys):
    (tmp_path / "mine.py").write_text(BRIGHT)
    judge = f"judge: {tmp_path / 'mine.py'}:bright"
    more = f"forget: [a horse]\nrelative: 0.9\nkeep: {{light: 0.4}}\n{judge}"
    path = written(tmp_path, untrained_folder, more, options=", sampling_steps: 3")
    text = path.read_text().replace("evaluate: false", "evaluate: true")
    path.write_text(text.replace("out:", "formats: [diffusers, kohya, merged]\nout:"))
    monkeypatch.setattr(Prompt, "effort", Effort(8, 8, 8, 8, pool=(2, 4), training=(2, 4)))
    main(["--config", str(path)])
    said = json.loads((tmp_path / "out" / "report.json").read_text())
    assert said["asked"][1].endswith("≥ 0.4") and len(said["multipliers"]) == 2
    sd = ul.TextToImage.from_pretrained(untrained_folder)
    problem, _ = asked(Config.load(path), sd)
    x = problem.retain.sample(4, steps=3)
    expected = (sd.decode(x).mean((1, 2, 3)) + 1) / 2
    torch.testing.assert_close(torch.tensor(problem.values_at(x)[:, 1]), expected.double())
    assert "keep: light" in capsys.readouterr().out
    out = tmp_path / "out"
    main(["--config", str(path), "--resume"])  # all is written again
    assert (out / "lora" / "lora_kohya.safetensors").exists()
    merged = StableDiffusionPipeline.from_pretrained(out / "merged")
    student = sd.load_lora(out, text="a cowboy")
    t = torch.full((4,), 500)
    found = ul.TextToImage(merged).prompt("a cowboy").noise_prediction(x, t)
    assert float((found - student.noise_prediction(x, t)).detach().abs().max()) < 1e-4


def test_the_classifier_that_ships_is_a_judge():
    sd = ul.TextToImage.from_pretrained("tiny")
    horse = judges.shows(sd, judges.judge_of("tiny", sd.device), "horse")
    x = sd.prompt("a horse").sample(8, steps=10, seed=1)
    assert float(horse(x).mean()) > 0.8
    with pytest.raises(ValueError, match=r"keep must be one of .*; got 'zebra'"):
        judges.shows(sd, judges.judge_of("tiny", sd.device), "zebra")(x)


def test_a_clip_is_a_judge(tmp_path):
    """Two texts and pictures through a small random CLIP: the same softmax, written out."""
    import transformers

    from unlearnlab.stable_diffusion import tiny

    tokens = tiny.tokenizer()
    text = {"vocab_size": len(tokens), "hidden_size": 32, "intermediate_size": 32}
    text |= {"num_hidden_layers": 1, "num_attention_heads": 2, "eos_token_id": tokens.eos_token_id}
    vision = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1}
    vision |= {"num_attention_heads": 2, "image_size": 32, "patch_size": 8}
    torch.manual_seed(0)
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)
    transformers.CLIPModel(config).save_pretrained(tmp_path)
    tokens.save_pretrained(tmp_path)
    pixels = {"size": {"shortest_edge": 32}, "crop_size": 32}
    transformers.CLIPImageProcessorPil(**pixels).save_pretrained(tmp_path)
    images = torch.rand((5, 3, 32, 32), generator=torch.Generator().manual_seed(0)) * 2 - 1
    found = judges.judge_of(str(tmp_path), torch.device("cpu"))(images, "a cowboy")
    assert found.shape == (5,) and ((found > 0) & (found < 1)).all()
    model = transformers.CLIPModel.from_pretrained(tmp_path).eval()
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073]).reshape(3, 1, 1)
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711]).reshape(3, 1, 1)
    ids = tokens(["a cowboy", judges.NOTHING], padding=True, return_tensors="pt")
    with torch.no_grad():
        logits = model(pixel_values=((images + 1) / 2 - mean) / std, **ids).logits_per_image
    # The processor of pictures counts in eight bits.
    torch.testing.assert_close(found, logits.softmax(1)[:, 0], rtol=0, atol=5e-3)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("forget: [a horse]\nmethod: ablation\nrelative: 0.5", "needs an anchor"),
        ("forget: [a horse]\nanchor: a tree\nrelative: 0.5", "anchor is of methods ablation"),
        ("forget: [a horse]\nrelative: 0.5\nkeep: {cactus: 0.3}", "keep needs a judge"),
        ("forget: [a horse]\nrelative: 0.5\nkeep: {cactus: 3}", "must lie between 0 and 1; got 3"),
        ("forget: [a horse]\nrelative: 0.5\njudge: tiny", "there is no keep"),
        ("forget: [a horse]\nrelative: 0.5\nformats: [peft]", "formats must be one of"),
        ("forget: [a horse]\nrelative: 0.5\nuntil: never", "until must be one of met"),
        ("forget: []\nrelative: 0.5", "at least one to forget, or forget_images"),
        ("forget_images: x\nrelative: [0.5, 0.5]", "or one for each of 1 prompts to forget and"),
        ("forget: [a horse]\nrelative: 0.5\nlayers: []", "layers is an empty list"),
        (
            "forget: [a horse]\nrelative: 0.5\ntext_encoders: true\noffload: true",
            "text_encoders: true trains .*offload: true keeps .*choose one",
        ),
        (
            "forget: [a horse]\nrelative: 0.5\nmethod: dual-only\nlayers: cross",
            "layers is of methods with a student; dual-only has none",
        ),
        (
            "forget: [a horse]\nrelative: 0.5\nmethod: dual-only\ntext_encoders: true",
            "text_encoders is of methods with a student; dual-only has none",
        ),
        ("forget: [a horse]\nrelative: 0.5\ntext_encoders: 2", "text_encoders must be true or"),
        (
            "forget: [a horse]\nrelative: 0.5\ntext_encoders: true\ninit: x",
            "text_encoders are of a new LoRA; the one of init keeps its own",
        ),
        ("forget: [a horse]\nrelative: 0.5\nsize: [1, 2, 3]", "size must be one side, or height"),
    ],
)
def test_what_does_not_fit_is_said_before_anything_is_read(tmp_path, more, message):
    path = written(tmp_path, "nowhere", more)
    with pytest.raises(ValueError, match=message):
        Config.load(path)


def test_judges_that_are_not_there(untrained_folder, tmp_path):
    (tmp_path / "mine.py").write_text(BRIGHT)
    device = torch.device("cpu")
    with pytest.raises(FileNotFoundError, match="is no file"):
        judges.judge_of(f"{tmp_path / 'other.py'}:bright", device)
    with pytest.raises(ValueError, match="has no function 'dark'"):
        judges.judge_of(f"{tmp_path / 'mine.py'}:dark", device)
    with pytest.raises(ValueError, match="cannot be imported"):
        judges.judge_of("no.such.module:bright", device)
    with pytest.raises(FileNotFoundError, match="is no CLIP folder or hub id"):
        judges.judge_of(str(tmp_path), device)
    sd = ul.TextToImage.from_pretrained(untrained_folder)
    wrong = judges.shows(sd, judges.judge_of(f"{tmp_path / 'mine.py'}:wrong", device), "light")
    with pytest.raises(ValueError, match="one number of each picture; of 2 it made"):
        wrong(torch.zeros((2, *sd.shape)))
