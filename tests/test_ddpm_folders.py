"""Image models on disk: what they predict, how they are sampled, and what is no such model."""

import json
import shutil
import warnings

import diffusers
import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DDPMPipeline, DDPMScheduler
from safetensors.torch import load_file, save_file
from saved_ddpm import SIDE, network, saved

import unlearnlab as ul
from unlearnlab.data_unlearning import main
from unlearnlab.diffusion.reading import Limit, Reading


def change(path, **fields):
    config = json.loads(path.read_text()) | fields
    path.write_text(json.dumps({k: v for k, v in config.items() if v != "absent"}))


# What is loaded is what is saved

SCHEDULERS = {
    "trailing": DDPMScheduler(timestep_spacing="trailing"),
    "linspace": DDPMScheduler(timestep_spacing="linspace", clip_sample=False),
    "offset": DDIMScheduler(steps_offset=1),
    "not clean": DDIMScheduler(set_alpha_to_one=False, prediction_type="v_prediction"),
    "threshold": DDPMScheduler(thresholding=True, clip_sample=False, sample_max_value=3.0),
    "clip": DDPMScheduler(clip_sample_range=2.0),
    "cosine": DDPMScheduler(50, beta_schedule="squaredcos_cap_v2", prediction_type="sample"),
    "PNDM": diffusers.PNDMScheduler(),
    "DPM": diffusers.DPMSolverMultistepScheduler(),
    "betas": DDPMScheduler(4, trained_betas=[0.1, 0.2, 0.3, 0.4]),
}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_model_and_its_copy_are_equal(tmp_path, name):
    model = ul.DDPM.from_pretrained(saved(tmp_path / "a", SCHEDULERS[name]))
    model.save(tmp_path / "b")
    again = ul.DDPM.from_pretrained(tmp_path / "b")
    assert again.schedule == model.schedule and again.reading == model.reading
    one, two = (
        json.loads((tmp_path / x / "scheduler" / "scheduler_config.json").read_text()) for x in "ab"
    )
    assert one == two
    x, t = torch.randn(2, *model.shape), torch.tensor([1, 3])
    assert torch.equal(model.noise_prediction(x, t), again.noise_prediction(x, t))
    assert float(ul.kl(model, again, samples=4)) == pytest.approx(0, abs=1e-6)
    assert torch.equal(model.sample(2, steps=2), again.sample(2, steps=2))


@pytest.mark.parametrize(
    "options", [{"spacing": "log_snr"}, {"spacing": "trailing", "ends_clean": False}, {}]
)
@pytest.mark.parametrize("limit", [None, Limit(0.5), Limit(1.0, 0.9, 2.0)])
def test_a_schedule_made_here_is_saved_whole(tmp_path, options, limit):
    reading = Reading("v_prediction", limit)
    model = ul.DDPM(network(), ul.Schedule(np.linspace(0.01, 0.3, 12), **options), reading=reading)
    model.save(tmp_path)
    again = ul.DDPM.from_pretrained(tmp_path)
    assert again.schedule == model.schedule
    assert (again.limit, again.reading.prediction) == (limit, "v_prediction")
    assert DDPMPipeline.from_pretrained(tmp_path).scheduler.config.num_train_timesteps == 12
    assert not list(tmp_path.glob("*partial*")) and not list(tmp_path.glob(".*"))


# Classes


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_a_flow_is_read_asked_and_written(tmp_path, shift):
    """Its network is called with x_s and 1000 s, and tells the velocity."""
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=shift)
    network().save_pretrained(tmp_path / "a" / "unet")
    scheduler.save_pretrained(tmp_path / "a" / "scheduler")
    model = ul.DDPM.from_pretrained(tmp_path / "a")
    assert model.schedule == ul.Schedule.flow(shift=shift, spacing="linspace")
    x, t = torch.randn(5, *model.shape), torch.tensor([0, 10, 400, 700, 998])
    alpha, sigma = model.schedule.at(t, x)
    s = sigma / (alpha + sigma)
    with torch.no_grad():
        velocity = model.unet(x / (alpha + sigma), 1000 * s.flatten()).sample
    # x_s − sû is the clean sample that it tells of, and ε̂ the noise that is left.
    clean = x / (alpha + sigma) - s * velocity
    near = (x - alpha * clean) / sigma
    torch.testing.assert_close(model.noise_prediction(x, t), near, rtol=1e-3, atol=1e-3)
    model.save(tmp_path / "b")
    again = ul.DDPM.from_pretrained(tmp_path / "b")
    assert again.schedule == model.schedule and again.reading.prediction == "velocity"
    assert torch.equal(again.noise_prediction(x, t), model.noise_prediction(x, t))
    made = ul.DDPM(network(), ul.Schedule.flow(40), reading=Reading("velocity"))
    made.save(tmp_path / "c")
    assert ul.DDPM.from_pretrained(tmp_path / "c").schedule == made.schedule
    odd = ul.DDPM(network(), ul.Schedule(), reading=Reading("velocity"))
    with pytest.raises(ValueError, match="diffusers has no scheduler of"):
        odd.save(tmp_path / "d")
    assert not (tmp_path / "d").exists()


def test_what_the_last_class_means_is_said(tmp_path):
    folder = saved(tmp_path / "ten", num_class_embeds=10)
    with pytest.raises(ValueError, match=r"ten: null_class must say .* last .* 10 classes"):
        ul.DDPM.from_pretrained(folder)
    model = ul.DDPM.from_pretrained(folder, null_class=True)
    assert model.classes == 9 and model.label is None
    every = ul.DDPM.from_pretrained(folder, null_class=False, label=9)
    assert every.classes == 10 and every.label == 9
    with pytest.raises(ValueError, match=r"label must be .*0 to 9.; got None, and none of its"):
        ul.DDPM.from_pretrained(folder, null_class=False)
    for one, kept in ((model, 9), (every, 10)):
        one.save(tmp_path / "again")
        again = ul.DDPM.from_pretrained(tmp_path / "again", label=3)
        assert again.classes == kept and again.for_training().classes == kept
    model.labelled(2).save(tmp_path / "plain")
    ul.DDPM(network(), ul.Schedule()).save(tmp_path / "plain")  # in the place of the other
    assert ul.DDPM.from_pretrained(tmp_path / "plain").classes == 0
    assert ul.digits.load_model("conditional").classes == 10


def test_a_last_class_is_not_spoken_of_where_there_are_none(tmp_path):
    folder = saved(tmp_path / "none")
    for says in (True, False):
        with pytest.raises(ValueError, match=f"none: null_class is of networks with.*got {says}"):
            ul.DDPM.from_pretrained(folder, null_class=says)
    with pytest.raises(ValueError, match="ten: null_class must be True or False; got 'no'"):
        ul.DDPM.from_pretrained(saved(tmp_path / "ten", num_class_embeds=10), null_class="no")


@pytest.mark.parametrize("steps", [2, 12, 60, 1000])
def test_an_offset_leaves_room_for_the_steps_that_are_sampled_by(tmp_path, steps):
    model = ul.DDPM.from_pretrained(saved(tmp_path / "one", DDIMScheduler(steps, steps_offset=1)))
    visited = model.schedule.timesteps(model.sampling_steps)
    assert len(set(visited)) == len(visited) == min(50, steps - 1) and visited[-1] == 1
    for offset in (30, 1000):
        folder = saved(tmp_path / "far", DDIMScheduler(steps_offset=offset))
        with pytest.raises(ValueError, match=rf"far: steps.*{offset}"):
            ul.DDPM.from_pretrained(folder)


# What is refused


def latent(folder):
    vq = diffusers.VQModel(
        block_out_channels=(8,), norm_num_groups=4, latent_channels=1, sample_size=SIDE
    )
    pipeline = diffusers.LDMPipeline(vqvae=vq, unet=network(), scheduler=DDIMScheduler())
    pipeline.save_pretrained(folder)


def parts(scheduler):
    def make(folder):
        network().save_pretrained(folder / "unet")
        scheduler.save_pretrained(folder / "scheduler")

    return make


def edited(path, **fields):
    def make(folder):
        saved(folder)
        change(folder / path, **fields)

    return make


def weights(alter):
    def make(folder):
        saved(folder)
        alter(folder / "unet" / "diffusion_pytorch_model.safetensors")

    return make


def without_one(path):
    tensors = load_file(path)
    tensors.pop("conv_in.weight")
    save_file(tensors, path, {"format": "pt"})


def not_finite(path):
    tensors = load_file(path)
    tensors["conv_in.weight"].fill_(float("nan"))
    save_file(tensors, path, {"format": "pt"})


NET, PLAN = "unet/config.json", "scheduler/scheduler_config.json"
REFUSED = {
    "latent": (latent, "LDMPipeline, with vqvae .*latents.*TextToImage"),
    "flow": (parts(diffusers.FlowMatchHeunDiscreteScheduler()), "flow matching.*give a model"),
    "moving shift": (
        parts(diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)),
        "its shift depends on the size of the pictures",
    ),
    "EDM": (parts(diffusers.EDMEulerScheduler()), "EDM.*give a model"),
    "consistency": (parts(diffusers.CMStochasticIterativeScheduler()), "a consistency model"),
    "LCM": (parts(diffusers.LCMScheduler()), "a consistency model"),
    "VE": (parts(diffusers.ScoreSdeVeScheduler()), "variance-exploding"),
    "unknown": (edited(PLAN, _class_name="MyScheduler"), "MyScheduler: unknown to diffusers"),
    "learned": (edited(PLAN, variance_type="learned_range"), "variance_type='learned_range'"),
    "prediction": (edited(PLAN, prediction_type="flow_prediction"), "got 'flow_prediction'"),
    "zero SNR": (edited(PLAN, rescale_betas_zero_snr=True), "zero signal at its end"),
    "size": (edited(NET, sample_size=None), "config.json has sample_size null: write"),
    "no size": (edited(NET, sample_size="absent"), "config.json has sample_size null: write"),
    "class type": (edited(NET, class_embed_type="timestep"), "class_embed_type 'timestep': give"),
    "fourier": (edited(NET, time_embedding_type="fourier"), "fourier.*variance-exploding"),
    "channels": (edited(NET, out_channels=2), "2 out_channels for 1 in_channels"),
    "conditional": (edited(NET, _class_name="UNet2DConditionModel"), "give a UNet2DModel"),
    "not JSON": (lambda f: (saved(f) / NET).write_text("{"), "config.json is not JSON"),
    "a list": (lambda f: (saved(f) / PLAN).write_text("[]"), "must hold a JSON object; got list"),
    "no scheduler": (lambda f: (saved(f) / PLAN).unlink(), "lacks scheduler_config.json"),
    "no config": (lambda f: (saved(f) / NET).unlink(), "lacks config.json"),
    "no weights": (weights(lambda p: p.unlink()), "no safetensors"),
    "empty": (lambda f: f.mkdir(), "lacks scheduler_config.json"),
    "cut": (weights(lambda p: p.write_bytes(p.read_bytes()[:5000])), "unet cannot be read"),
    "missing": (weights(without_one), "1 missing keys, such as 'conv_in.weight'"),
    "NaN": (weights(not_finite), "not finite, 'conv_in.weight'"),
    "no such plan": (edited(PLAN, beta_schedule="x"), "config.json cannot be read .NotImpl"),
    "steps text": (edited(PLAN, num_train_timesteps="x"), "cannot be read .TypeError: linspace"),
    "not a plan": (edited(PLAN, _class_name="UNet2DModel"), "UNet2DModel"),
    "reach": (edited(PLAN, clip_sample=True, clip_sample_range=None), "clip_sample_range must be"),
    "reach 0": (edited(PLAN, clip_sample=True, clip_sample_range=0), "clip_sample_range must be"),
    "type": (edited(NET, act_fn=None), "unet cannot be read .AttributeError"),
    "groups": (edited(NET, norm_num_groups=0), "unet cannot be read .ZeroDivisionError"),
    "sides": (edited(NET, sample_size=[1, 2, 3]), "folder: "),
    "half a side": (edited(NET, sample_size=1.5), "folder: "),
    "found by a call": (edited(NET, norm_eps="x"), "folder: group_norm"),
    "found by its numbers": (edited(NET, mid_block_scale_factor=0), "first prediction: not finite"),
    "wider": (edited(NET, block_out_channels=[16, 16]), "cannot be read|mismatched keys"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_folders_that_are_no_ddpm_are_refused_by_name(tmp_path, name):
    make, says = REFUSED[name]
    make(tmp_path / "folder")
    with pytest.raises((ValueError, FileNotFoundError), match=says) as told:
        ul.DDPM.from_pretrained(tmp_path / "folder")
    assert str(tmp_path / "folder") in str(told.value)
    given = ["--model", str(tmp_path / "folder"), "--images", str(tmp_path), "--forget", "a.png"]
    with pytest.raises((ValueError, FileNotFoundError), match=says):
        main([*given, "--threshold", "1", "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_a_network_draws_no_dropout(tmp_path):
    """Whether it was just trained, or someone calls train()."""
    x, t = torch.randn(2, 1, SIDE, SIDE), torch.tensor([10, 900])
    model = ul.DDPM(network(dropout=0.5).train(), ul.Schedule())
    again = ul.DDPM.from_pretrained(saved(tmp_path, dropout=0.5)).train()
    pupil = model.train().for_training().train()
    first = again.noise_prediction(x, t)
    for one in (model, again, pupil):
        assert torch.equal(one.noise_prediction(x, t), first)


def test_single_files_are_refused(tmp_path):
    for name in ("model.ckpt", "model.safetensors"):
        (tmp_path / name).write_bytes(b"weights")
        with pytest.raises(ValueError, match=rf"{name}' is a single-file checkpoint.*convert"):
            ul.DDPM.from_pretrained(tmp_path / name)
    with pytest.raises(ValueError, match="single-file"):
        ul.DDPM.from_pretrained("not/there.ckpt")


def test_networks_are_asked_in_the_constructor_too():
    for options, says in (
        ({"sample_size": None}, "unet has sample_size null"),
        ({"out_channels": 2}, "2 out_channels"),
        ({"num_class_embeds": 3}, "null_class must say"),
    ):
        with pytest.raises(ValueError, match=says):
            ul.DDPM(network(**options), ul.Schedule())


def test_variances_that_differ_are_said(tmp_path):
    saved(tmp_path, DDPMScheduler(variance_type="fixed_large"))
    with pytest.warns(UserWarning, match=r"variance_type='fixed_large'.*posterior's"):
        model = ul.DDPM.from_pretrained(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save(tmp_path / "again")
    again = json.loads((tmp_path / "again" / PLAN).read_text())
    assert again["variance_type"] == "fixed_large"


def test_variants_are_found_or_asked_for(tmp_path):
    folder = saved(tmp_path / "a", variant="fp16")
    plain = saved(tmp_path / "b")
    x, t = torch.randn(2, 1, SIDE, SIDE), torch.tensor([10, 900])
    one, two = (ul.DDPM.from_pretrained(f).noise_prediction(x, t) for f in (folder, plain))
    assert torch.equal(one, two)
    stored = folder / "unet" / "diffusion_pytorch_model.fp16.safetensors"
    shutil.copy(stored, stored.with_name("diffusion_pytorch_model.bf16.safetensors"))
    with pytest.raises(ValueError, match=r"variant must be one of .*'bf16', 'fp16'.; got None"):
        ul.DDPM.from_pretrained(folder)
    chosen = ul.DDPM.from_pretrained(folder, variant="fp16")
    assert torch.equal(chosen.noise_prediction(x, t), one)
    with pytest.raises(ValueError, match=r"variant must be one of .*None.; got 'fp16'"):
        ul.DDPM.from_pretrained(plain, variant="fp16")


def test_flat_folders_are_read(tmp_path):
    """Network and scheduler side by side, as on the hub."""
    saved(tmp_path)
    for part in ("unet", "scheduler"):
        for path in (tmp_path / part).iterdir():
            path.rename(tmp_path / path.name)
        (tmp_path / part).rmdir()
    assert ul.DDPM.from_pretrained(tmp_path).shape == (1, SIDE, SIDE)
