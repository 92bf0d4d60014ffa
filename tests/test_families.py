"""SDXL, SD3 and FLUX, from a folder through prompt, problem, student and file to diffusers' own.

Stable Diffusion 1.x and 2.x have files of tests of their own.
"""

import json

import diffusers
import pytest
import small_pipelines
import torch
import yaml

import unlearnlab as ul
from unlearnlab.diffusion import sampling
from unlearnlab.diffusion.model import Effort
from unlearnlab.stable_diffusion.__main__ import main
from unlearnlab.stable_diffusion.families import FAMILIES
from unlearnlab.stable_diffusion.prompt import Prompt
from unlearnlab.stable_diffusion.tiny import untrained

MADE = {
    "sdxl": small_pipelines.sdxl,
    "sd3": small_pipelines.sd3,
    "flux": small_pipelines.flux,
    "schnell": lambda: small_pipelines.flux(guided=False),
}
SIZE = small_pipelines.PIXELS
STEPS = 6


@pytest.fixture(scope="module", params=MADE)
def family(request):
    return request.param


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Weights are random: what is measured of them says nothing."""
    monkeypatch.setattr(Prompt, "effort", Effort(4, 4, 4, 4, pool=(2, 4), training=(2, 4)))


@pytest.fixture(scope="module")
def folder(family, tmp_path_factory):
    path = tmp_path_factory.mktemp(family) / "pipeline"
    MADE[family]().save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def sd(folder):
    return ul.TextToImage.from_pretrained(folder, size=SIZE)


def noise(sd, n=2):
    return torch.randn((n, *sd.shape), generator=torch.Generator().manual_seed(1))


def ours(sd, prompt, x):
    """Where DDIM goes from x at the first timestep; a flow's x_s is x_t/(α + σ)."""
    chain = sampling.chain(sd.schedule, "ddim", STEPS)
    size = 1.0
    if sd.prediction == "velocity":
        size = float((sd.schedule.signal + sd.schedule.noise)[chain[0].t])
    for taken in sampling.unfold(prompt, size * x.to(prompt.dtype), chain, torch.Generator()):
        last = taken.x_s
    return last


def stocks(sd, pipeline, x, guidance=1.0):
    """Latents of a stock pipeline at the same timesteps."""
    pipeline.set_progress_bar_config(disable=True)
    how = {"num_inference_steps": STEPS, "output_type": "latent", "guidance_scale": guidance}
    if sd.prediction == "velocity":
        how["sigmas"] = [(t + 1) / 1000 for t in sd.schedule.timesteps(STEPS)]
    packed = isinstance(pipeline, diffusers.FluxPipeline)
    if packed and not sd.family.guided_inside:
        how |= {"true_cfg_scale": guidance, "negative_prompt": ""}
    n, *shape = x.shape
    latents = pipeline._pack_latents(x, n, *shape) if packed else x.clone()
    told = {"prompt": "a cowboy", "num_images_per_prompt": n, "height": SIZE, "width": SIZE}
    found = pipeline(**told | how, latents=latents).images
    return pipeline._unpack_latents(found, SIZE, SIZE, 8) if packed else found


def off(one, other):
    return float((one - other).abs().max())


@pytest.mark.parametrize("guidance", [1.0, 4.0])
def test_a_prompt_draws_what_the_stock_pipeline_draws(sd, guidance):
    x = noise(sd)
    found = ours(sd, sd.prompt("a cowboy", guidance=guidance), x)
    assert off(found, stocks(sd, sd.pipeline, x, guidance)) < 1e-4
    other = ours(sd, sd.prompt("a horse at night", guidance=guidance), x)
    assert off(found, other) > 1e-3  # the text counts
    if guidance > 1:
        assert off(found, ours(sd, sd.prompt("a cowboy"), x)) > 1e-3  # and so does its guidance


def test_pictures_are_the_autoencoders(sd):
    x = noise(sd)
    vae = sd.pipeline.vae.config
    with torch.no_grad():
        stock = sd.pipeline.vae.decode(x / vae.scaling_factor + (vae.shift_factor or 0)).sample
    assert off(sd.decode(x), stock.clamp(-1, 1)) < 1e-6
    images = torch.rand((2, 3, SIZE, SIZE), generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        mean = sd.pipeline.vae.encode(images).latent_dist.mean
    assert off(sd.encode(images) / vae.scaling_factor + (vae.shift_factor or 0), mean) < 1e-5


@pytest.mark.parametrize("text_encoders", [False, True])
def test_a_student_is_one_of_the_stock_pipeline(sd, folder, tmp_path, text_encoders):
    problem = ul.ReverseKL(sd.prompt("a cowboy"), [sd.prompt("a horse")], thresholds=[1.0])
    how = {"steps": 3, "batch": 2, "sampling_steps": 4, "lr": 1e-2, "evaluate": False}
    student = sd.lora(rank=2, text_encoders=text_encoders)
    run = ul.finetune(problem, student, progress=False, **how)
    clip = {name for name in sd.family.text_encoders if name in sd.family.loaded}
    assert set(run.student.encoders) == (clip if text_encoders else set())
    x, stock = noise(sd), diffusers.DiffusionPipeline.from_pretrained(folder)
    before = stocks(sd, stock, x)
    run.student.save(tmp_path / "lora")
    stock.load_lora_weights(tmp_path / "lora")
    after = stocks(sd, stock, x)
    mine = ours(sd, run.student, x)
    assert off(mine, after) < 1e-4 and off(before, after) > 1e-3
    again = sd.load_lora(tmp_path / "lora", text="a cowboy")
    assert off(ours(sd, again, x), mine) < 1e-6
    run.student.save(tmp_path / "merged", format="merged")
    merged = ul.TextToImage.from_pretrained(tmp_path / "merged", size=SIZE)
    assert off(ours(merged, merged.prompt("a cowboy"), x), mine) < 1e-4


def test_layers_by_name(sd, family):
    names = {kind: sd.family.chosen(kind) for kind in ("cross", "all")}
    assert set(names["cross"]) < set(names["all"])
    one = names["all"][-1]
    assert sd.family.chosen(one) == [one]
    trained = [
        name for name, p in sd.lora(2, layers=[one]).net.named_parameters() if p.requires_grad
    ]
    assert len(trained) == 2 and all(one in name for name in trained)
    with pytest.raises(ValueError, match=r"none ends in 'to_z'"):
        sd.lora(layers=["to_q", "to_z"])


def test_half_precision_predicts_what_the_stock_network_does(sd, folder, family):
    """Of the same bfloat16 inputs; a chain's own rounding is the scheduler's affair."""
    half = ul.TextToImage.from_pretrained(folder, size=SIZE, dtype=torch.bfloat16)
    x, prompt, exact = noise(sd), half.prompt("a cowboy"), sd.prompt("a cowboy")
    assert all(p.dtype == torch.bfloat16 for p in half.family.net.parameters())
    t = torch.full((2,), 600)
    found, whole = (p.noise_prediction(x.to(p.dtype), t) for p in (prompt, exact))
    assert found.dtype in (torch.float32, torch.float64)
    assert off(found, whole) < 0.1 * float(whole.std())
    student = half.lora(rank=2)
    assert {p.dtype for p in student.parameters() if p.requires_grad} == {torch.float32}


@pytest.mark.parametrize("method", ["gate", "esd"])
def test_other_methods_run_on_every_family(sd, method):
    q, q1 = sd.prompt("a cowboy"), sd.prompt("a horse")
    how = {"steps": 2, "batch": 2, "sampling_steps": 3, "evaluate": False, "progress": False}
    if method == "esd":
        problem = ul.ReverseKL(q, [q1], thresholds=[1.0])
    else:
        problem = ul.Likelihood(q, [q1], thresholds=[0.5], statistic="ratio")
        how |= {"chains": 4, "chain_steps": 4}
    kind = ul.baselines.ESD if method == "esd" else method
    run = ul.finetune(problem, sd.lora(rank=2), method=kind, **how)
    moved = [p for name, p in run.student.net.named_parameters() if "lora_B" in name]
    assert any(float(p.detach().abs().max()) > 0 for p in moved)


def test_the_command_goes_from_yaml_to_the_stock_pipeline(sd, folder, tmp_path):
    config = {
        "model": str(folder),
        "size": SIZE,
        "problem": "reverse-kl",
        "retain": "a cowboy",
        "forget": ["a horse"],
        "thresholds": 1.0,
        "rank": 2,
        "layers": "all",
        "text_encoders": True,
        "samples": 2,
        "sample_steps": 2,
        "out": str(tmp_path / "run"),
        "options": {"steps": 2, "batch": 2, "sampling_steps": 3, "lr": 1e-2, "evaluate": False},
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config))
    main(["--config", str(tmp_path / "run.yaml")])
    assert json.loads((tmp_path / "run" / "report.json").read_text())["prompts"]
    stock = diffusers.DiffusionPipeline.from_pretrained(folder)
    stock.load_lora_weights(tmp_path / "run" / "lora")
    student = sd.load_lora(tmp_path / "run", text="a cowboy")
    assert student.encoders
    x = noise(sd)
    assert off(ours(sd, student, x), stocks(sd, stock, x)) < 1e-4


def test_what_a_family_cannot_do_is_one_sentence(sd, folder, family, tmp_path):
    with pytest.raises(ValueError, match=r"has \d+ tokens, and the text encoder reads 75"):
        sd.prompt("a cowboy " * 40)
    with pytest.raises(ValueError, match=r"size must be a multiple of \d+ pixels"):
        ul.TextToImage.from_pretrained(folder, size=SIZE + 2)
    index = json.loads((folder / "model_index.json").read_text())
    with pytest.raises(ValueError, match="has no scheduler"):
        (tmp_path / "bare").mkdir()
        (tmp_path / "bare" / "model_index.json").write_text(
            json.dumps(index | {"scheduler": [None, None]})
        )
        ul.TextToImage.from_pretrained(tmp_path / "bare")
    sd.pipeline.text_encoder.half()
    with pytest.raises(ValueError, match=r"the text_encoder torch.float16: load all parts"):
        ul.TextToImage(sd.pipeline)
    sd.pipeline.text_encoder.float()
    if sd.prediction == "velocity":
        other = sd.pipeline.components | {"scheduler": diffusers.DDIMScheduler()}
        with pytest.raises(ValueError, match="must be a FlowMatchEulerDiscreteScheduler"):
            ul.TextToImage(type(sd.pipeline)(**other))
        with pytest.raises(ValueError, match="format 'kohya' is for UNets"):
            sd.lora(rank=2).save(tmp_path, format="kohya")
    if family == "flux":
        with pytest.raises(ValueError, match="takes its guidance in and has no negative prompt"):
            sd.prompt("a cowboy", guidance=3.5, negative="a horse")


def test_a_lora_of_another_family_is_refused(sd, tmp_path):
    other = ul.TextToImage(untrained())
    other.lora(rank=2, text="a cowboy").save(tmp_path / "sd")
    with pytest.raises(ValueError, match="cannot be applied: it is of another network"):
        sd.load_lora(tmp_path / "sd")
    sd.lora(rank=2).save(tmp_path / "own")
    with pytest.raises(ValueError, match="cannot be applied: it is of another network"):
        other.load_lora(tmp_path / "own")


def test_other_pipelines_are_refused_by_the_names_of_those_that_are_known(tmp_path):
    (tmp_path / "model_index.json").write_text('{"_class_name": "PixArtAlphaPipeline"}')
    with pytest.raises(ValueError, match=r"supported are .*FLUX.1.*this is a PixArtAlphaPipeline"):
        ul.TextToImage.from_pretrained(tmp_path)
    assert len({one.stock for one in FAMILIES}) == len(FAMILIES)


def test_sd3_without_t5_has_zeros_in_its_place(tmp_path):
    made = small_pipelines.sd3()
    parts = made.components | {"text_encoder_3": None, "tokenizer_3": None}
    type(made)(**parts).save_pretrained(tmp_path)
    sd = ul.TextToImage.from_pretrained(tmp_path)
    x = noise(sd)
    assert off(ours(sd, sd.prompt("a cowboy"), x), stocks(sd, sd.pipeline, x)) < 1e-4


def test_sdxl_in_kohyas_format_is_read_by_the_stock_pipeline(tmp_path):
    stock = small_pipelines.sdxl()
    sd = ul.TextToImage(small_pipelines.sdxl())
    student = sd.lora(rank=2, text="a cowboy", layers="all")
    for name, p in student.net.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(
                p.data, std=0.3, generator=torch.Generator().manual_seed(len(name))
            )
    student.save(tmp_path, format="kohya")
    stock.load_lora_weights(tmp_path / "lora_kohya.safetensors")
    x = noise(sd)
    assert off(ours(sd, student, x), stocks(sd, stock, x)) < 1e-4


def test_a_shift_that_moves_with_the_size_is_the_stock_pipelines():
    """Of both kinds: the sigmas that its scheduler makes of the same times, and its latents."""
    for kind in ("exponential", "linear"):
        made = small_pipelines.flux()
        how = dict(made.scheduler.config) | {"time_shift_type": kind}
        scheduler = diffusers.FlowMatchEulerDiscreteScheduler.from_config(how)
        made = diffusers.FluxPipeline(**made.components | {"scheduler": scheduler})
        sd = ul.TextToImage(made, size=SIZE)
        x = noise(sd)
        assert off(ours(sd, sd.prompt("a cowboy"), x), stocks(sd, made, x)) < 1e-4
    turned = diffusers.FlowMatchEulerDiscreteScheduler(invert_sigmas=True)
    with pytest.raises(ValueError, match="has invert_sigmas"):
        ul.Schedule.from_scheduler(turned)
