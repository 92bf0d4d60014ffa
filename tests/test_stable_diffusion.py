"""Prompts as distributions and LoRA students, on an untrained pipeline of the tiny one's shape."""

import json
import shutil

import numpy as np
import pytest
import torch

import unlearnlab as ul
from unlearnlab.diffusion import sampling
from unlearnlab.diffusion.quadrature import predict, predict_all
from unlearnlab.stable_diffusion import scenes, tiny
from unlearnlab.stable_diffusion.tiny import untrained


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A stock pipeline's folder; weights are random."""
    path = tmp_path_factory.mktemp("pipeline")
    untrained().save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def sd(folder):
    return ul.TextToImage.from_pretrained(folder)


@pytest.fixture
def student(sd):
    """With random changes in place of none."""
    made = sd.lora(rank=4, text="a cowboy")
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, p in made.net.named_parameters():
            if "lora_B" in name:
                p.copy_(0.3 * torch.randn(p.shape, generator=generator))
    return made


def drawn(pipeline, x, **options):
    """Latents of a stock pipeline from given noise."""
    how = {"prompt": "a cowboy", "num_inference_steps": 8, "output_type": "latent"}
    return pipeline(**how | options, latents=x.clone()).images


def noise(n=1):
    return torch.randn((n, 4, 8, 8), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("guidance", [1.0, 4.0])
def test_a_prompt_draws_what_the_stock_pipeline_draws(guidance, prediction):
    pipeline = untrained()
    pipeline.scheduler.register_to_config(prediction_type=prediction)
    sd, x = ul.TextToImage(pipeline), noise()
    prompt = sd.prompt("a cowboy", guidance=guidance)
    for taken in sampling.unfold(
        prompt, x, sampling.chain(prompt.schedule, "ddim", 8), torch.Generator()
    ):
        last = taken.x_s
    stock = drawn(sd.pipeline, x, guidance_scale=guidance)
    assert float((last - stock).abs().max()) < 1e-4


def test_a_student_of_a_network_that_predicts_v_is_one_of_the_stock_pipeline(tmp_path):
    """From a folder through a problem and a LoRA to the stock pipeline's own latents.

    Built as Stable Diffusion 2 is: linear projections, heads by block, an encoder with gelu.
    """
    from diffusers import StableDiffusionPipeline

    pipeline = untrained()
    torch.manual_seed(0)
    heads = {"use_linear_projection": True, "attention_head_dim": [5, 10]}
    unet = type(pipeline.unet).from_config(dict(pipeline.unet.config) | heads)
    told = pipeline.text_encoder.config.to_dict() | {"hidden_act": "gelu"}
    text_encoder = type(pipeline.text_encoder)(type(pipeline.text_encoder.config)(**told))
    parts = pipeline.components | {"unet": unet, "text_encoder": text_encoder}
    pipeline = StableDiffusionPipeline(**parts, requires_safety_checker=False)
    pipeline.scheduler.register_to_config(prediction_type="v_prediction")
    pipeline.save_pretrained(tmp_path / "pipeline")
    sd = ul.TextToImage.from_pretrained(tmp_path / "pipeline")
    assert sd.prediction == "v"
    problem = ul.ReverseKL(sd.prompt("a cowboy"), [sd.prompt("a horse")], thresholds=[1.0])
    how = {"steps": 3, "batch": 2, "sampling_steps": 4, "lr": 1e-2, "evaluate": False}
    run = ul.finetune(problem, sd.lora(rank=2), progress=False, **how)
    run.student.save(tmp_path / "lora")
    stock = StableDiffusionPipeline.from_pretrained(tmp_path / "pipeline")
    stock.set_progress_bar_config(disable=True)
    before = drawn(stock, noise(), guidance_scale=1.0)
    stock.load_lora_weights(tmp_path / "lora")
    stock_drawn = drawn(stock, noise(), guidance_scale=1.0)
    chain = sampling.chain(sd.schedule, "ddim", 8)
    for taken in sampling.unfold(run.student, noise(), chain, torch.Generator()):
        last = taken.x_s
    assert float((last - stock_drawn).abs().max()) < 1e-4
    assert float((before - stock_drawn).abs().max()) > 1e-3


def test_prompts_of_one_network_take_one_call(sd, monkeypatch):
    calls = []
    forward = sd.pipeline.unet.forward
    monkeypatch.setattr(
        sd.pipeline.unet, "forward", lambda x, *a, **k: calls.append(len(x)) or forward(x, *a, **k)
    )
    prompts = [
        sd.prompt("a cowboy"),
        sd.prompt("a horse", guidance=3.0),
        sd.prompt("a tree", guidance=2.0),
        ul.PointMass(torch.zeros(4, 8, 8), sd.schedule),
    ]
    x, t = noise(5), torch.full((5,), 300)
    together = predict_all(prompts, x, t)
    assert calls == [5 * 4]  # cowboy, horse, tree, and the empty prompt once
    for prompt, one in zip(prompts, together, strict=True):
        assert float((one - predict(prompt, x, t)).abs().max()) < 1e-5


def test_guidance_halves_the_latents_in_a_call(sd):
    plain, guided = sd.prompt("a cowboy"), sd.prompt("a cowboy", guidance=3.0)
    student = sd.lora(rank=2)
    student.condition(guided)
    assert plain.rows == 2 * guided.rows == 2 * student.rows
    assert sd.lora(rank=2, text="a tree").rows == plain.rows


def test_a_composed_prompt_is_negative_guidance(sd):
    """(1 + u)ε̂_q − uε̂_1 is ε̂_1 + w(ε̂_q − ε̂_1) at w = 1 + u."""
    q, q1 = sd.prompt("a cowboy"), sd.prompt("a horse")
    guided = sd.prompt("a cowboy", guidance=2.5, negative="a horse")
    x, t = noise(2), torch.full((2,), 300)
    composed = ul.ComposedModel(q, [q1], [1.5])
    gap = composed.noise_prediction(x, t) - predict(guided, x, t)
    assert float(gap.abs().max()) < 1e-4


def test_a_student_begins_as_the_pipeline_and_shares_its_weights(sd):
    student = sd.lora(rank=4)
    pupil = student.for_training()
    pupil.condition(sd.prompt("a horse"))
    x, t = noise(2), torch.full((2,), 300)
    assert torch.equal(pupil(x, t), sd.prompt("a horse").noise_prediction(x, t))
    base = {p.data_ptr() for p in sd.pipeline.unet.parameters()}
    frozen = [p for p in pupil.parameters() if not p.requires_grad]
    assert {p.data_ptr() for p in frozen} == base
    own = {p.data_ptr() for p in pupil.parameters() if p.requires_grad}
    assert own and not own & {p.data_ptr() for p in student.parameters()}


def test_stock_diffusers_loads_a_student(sd, student, folder, tmp_path):
    from diffusers import StableDiffusionPipeline

    x = noise()
    stock = StableDiffusionPipeline.from_pretrained(folder)
    stock.set_progress_bar_config(disable=True)
    before = drawn(stock, x)
    student.save(tmp_path)
    stock.load_lora_weights(tmp_path)
    changed = drawn(stock, x)
    assert float((changed - before).abs().max()) > 0.1
    assert float((changed - drawn(student.pipeline, x)).abs().max()) < 1e-4
    half = drawn(stock, x, cross_attention_kwargs={"scale": 0.5})
    student.scale(0.5)
    assert float((half - drawn(student.pipeline, x)).abs().max()) < 1e-4
    stock.unload_lora_weights()
    assert torch.equal(drawn(stock, x), before)
    assert torch.equal(drawn(sd.pipeline, x), before)  # the source never changed
    again = sd.load_lora(tmp_path, text="a cowboy")
    assert float((drawn(again.pipeline, x) - changed).abs().max()) < 1e-4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a zebra with a cowboy", "never seen: zebra; it knows a, and, at"),
        (
            "a horse and a tree and a ball and a house and a cactus at night",
            "'at night' would be cut off",
        ),
        ("a cow\u200bboy", r"prompt has U\+200B \(ZERO WIDTH SPACE\) as character 6"),
    ],
)
def test_prompts_that_cannot_be_read(sd, text, message):
    with pytest.raises(ValueError, match=message):
        sd.prompt(text)


def test_other_pipelines_are_refused(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    index = json.loads((other / "model_index.json").read_text())
    (other / "model_index.json").write_text(
        json.dumps(index | {"_class_name": "PixArtAlphaPipeline"})
    )
    with pytest.raises(ValueError, match="this is a PixArtAlphaPipeline"):
        ul.TextToImage.from_pretrained(other)
    (other / "model_index.json").write_text(json.dumps(index | {"vae": [None, None]}))
    with pytest.raises(ValueError, match="has no vae"):
        ul.TextToImage.from_pretrained(other)
    with pytest.raises(FileNotFoundError, match="no pipeline found at 'nowhere/at-all'"):
        ul.TextToImage.from_pretrained("nowhere/at-all")


def test_a_lora_of_another_network_is_refused(sd, student, tmp_path):
    from safetensors.torch import load_file, save_file

    student.save(tmp_path)
    file = tmp_path / "pytorch_lora_weights.safetensors"
    wide = {k: torch.cat([v, v], 1) for k, v in load_file(file).items()}
    save_file(wide, file)
    (tmp_path / "SHA256SUMS").unlink()
    with pytest.raises(ValueError, match="is of another network"):
        sd.load_lora(tmp_path)


def test_captions_say_how_often_everything_is_drawn():
    caption = scenes.Caption("cowboy", place="night")
    found = scenes.drawings(2000, seed=3, captions=[caption])
    rates = np.array([caption.rates()[name] for name in scenes.ATTRIBUTES])
    share = found.attributes.double().mean(0).numpy()
    assert (abs(share - rates) <= 4 * np.sqrt(rates * (1 - rates) / 2000) + 1e-9).all()
    assert rates[scenes.ATTRIBUTES.index("horse")] == 0.6


def test_every_word_of_a_caption_is_a_token():
    tokens = tiny.tokenizer()
    texts = scenes.drawings(300, seed=0).captions
    assert {w for text in texts for w in text.split()} <= set(scenes.words())
    for text in texts:
        assert tokens.tokenize(text) == [f"{w}</w>" for w in text.split()]


def test_a_run_is_not_continued_on_another_prompt(sd, tmp_path):
    how = {"steps": 2, "batch": 2, "sampling_steps": 2, "evaluate": False, "folder": tmp_path}
    q, others = sd.prompt("a cowboy"), [sd.prompt("a horse"), sd.prompt("a tree")]
    first, second = (ul.ReverseKL(q, [one], thresholds=[1.0]) for one in others)
    run = ul.finetune(first, sd.lora(rank=2), **how)
    assert run.student.text == "a cowboy"
    with pytest.raises(ValueError, match=r"forgotten text\[0\] is 'a horse', here it is 'a tree'"):
        ul.finetune(second, sd.lora(rank=2), resume=True, **how)


def test_unets_that_are_no_prediction_of_a_prompt_are_refused():
    pipeline = untrained()
    pipeline.scheduler.register_to_config(prediction_type="flow")
    with pytest.raises(ValueError, match=r"must predict one of .* this one predicts 'flow'"):
        ul.TextToImage(pipeline)
    pipeline.scheduler.register_to_config(prediction_type="epsilon")
    pipeline.unet.register_to_config(in_channels=9)
    with pytest.raises(ValueError, match="takes 9 channels and the autoencoder makes 4"):
        ul.TextToImage(pipeline)
