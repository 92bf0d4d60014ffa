"""Image models from disk: samples as diffusers draws them, and draws that stand for a model."""

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler
from saved_ddpm import network, saved

import unlearnlab as ul
from unlearnlab import baselines, metrics
from unlearnlab.diffusion import sampling
from unlearnlab.diffusion.reading import Limit, Reading

# What the network predicts


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("limits", [{}, {"clip_sample": True, "clip_sample_range": 0.5}])
@pytest.mark.parametrize("kind", [DDIMScheduler, DDPMScheduler])
def test_samples_are_those_of_diffusers(tmp_path, prediction, limits, kind):
    options = {"clip_sample": False, "prediction_type": prediction} | limits
    theirs = kind(**options)
    model = ul.DDPM.from_pretrained(saved(tmp_path, theirs))
    sampler = "ddim" if kind is DDIMScheduler else "ddpm"
    theirs.set_timesteps(10)
    generator = torch.Generator().manual_seed(3)
    x = 3 * torch.randn(4, *model.shape, generator=generator)
    generator = torch.Generator().manual_seed(4)
    steps = sampling.chain(model.schedule, sampler, 10)
    ours = list(sampling.unfold(model, x, steps, torch.Generator().manual_seed(4), model.limit))
    for t, taken in zip(theirs.timesteps, ours, strict=True):
        with torch.no_grad():
            told = model.unet(x, t).sample
        more = {} if sampler == "ddim" else {"generator": generator}
        x = theirs.step(told, t, x, **more).prev_sample
        assert taken.step.t == t
        torch.testing.assert_close(taken.x_s, x, rtol=2e-4, atol=2e-4)
    if limits:  # the last x̂ is what comes out
        assert float(taken.x_s.abs().max()) == pytest.approx(0.5, abs=1e-5)
        drawn = model.sample(8, sampler=sampler, steps=5)
        back = metrics.reconstruct(model, torch.zeros(model.shape), 900)
        assert float(drawn.abs().max()) <= 0.5 + 1e-5 and float(back.abs().max()) <= 0.5 + 1e-5


def test_thresholding_is_that_of_diffusers(tmp_path):
    options = {"dynamic_thresholding_ratio": 0.8, "sample_max_value": 2.5}
    theirs = DDIMScheduler(clip_sample=False, thresholding=True, **options)
    model = ul.DDPM.from_pretrained(saved(tmp_path, theirs))
    assert model.limit == Limit(1.0, 0.8, 2.5)
    wide = torch.randn(16, *model.shape) * torch.linspace(0.1, 4, 16)[:, None, None, None]
    torch.testing.assert_close(model.limit(wide), theirs._threshold_sample(wide))


@pytest.mark.parametrize("prediction", ["v_prediction", "sample"])
def test_noise_is_read_off_what_is_predicted(prediction):
    """Of one image x, ε and what a network would say of it are known."""
    schedule = ul.Schedule()
    x, noise = torch.randn(2, 50, 3).double()
    t = torch.arange(0, 1000, 20)
    alpha, sigma = schedule.at(t, x)
    told = x if prediction == "sample" else alpha * noise - sigma * x
    found = Reading(prediction).noise(told, schedule.noised(x, t, noise), t, schedule)
    torch.testing.assert_close(found, noise, rtol=1e-9, atol=1e-9)


def test_students_of_other_predictions_are_trained(tmp_path):
    model = ul.DDPM.from_pretrained(saved(tmp_path, DDPMScheduler(prediction_type="v_prediction")))
    x = torch.rand(6, *model.shape) * 2 - 1
    problem = ul.ForwardKL(model, [ul.PointMass(x[0], model.schedule)], [10.0])
    run = ul.finetune(problem, model, data=x, steps=2, batch=2, evaluate=False, progress=False)
    run.student.save(tmp_path / "student")
    again = ul.DDPM.from_pretrained(tmp_path / "student")
    assert again.reading == model.reading and again.schedule == model.schedule


def test_steps_land_where_the_next_one_starts():
    """Diffusers' DDIM does not, where steps do not divide T, nor with linspace."""
    theirs = {
        spacing: DDIMScheduler(timestep_spacing=spacing) for spacing in ("trailing", "linspace")
    }
    for spacing, scheduler in theirs.items():
        schedule = ul.Schedule.from_scheduler(scheduler)
        for steps in (7, 30):
            visited = schedule.timesteps(steps)
            taken = sampling.chain(schedule, "ddim", steps)
            for step, after in zip(taken, visited[1:], strict=False):
                ratio = float(schedule.alphas_cumprod[after] / schedule.alphas_cumprod[step.t])
                assert step.keep == pytest.approx(ratio**0.5, rel=1e-12), spacing
            landed = [t - 1000 // steps for t in visited[:-1]]
            assert landed != visited[1:], "diffusers agrees: say so in `chain`"


# A model's own draws


@pytest.mark.parametrize("method", ["primal-dual", "SISS", "EraseDiff", "VDU", "FDivergence"])
def test_a_models_own_draws_stand_for_it(method):
    """They exceed 1, unclipped; pictures that someone gives may not."""
    model = ul.DDPM(network(), ul.Schedule(np.linspace(1e-3, 0.3, 20)))
    other = ul.DDPM(network(seed=1), model.schedule)
    assert float(other.stand_in(seed=102).abs().max()) > 1.01
    kind = getattr(baselines, method, method)
    options = {"SISS": {"share": 0.1}, "FDivergence": {"anchor": model}}.get(method, {})
    problem = ul.ForwardKL(model, [other], thresholds=[1.0])
    how = {"steps": 1, "batch": 4, "evaluate": False, "progress": False, "method": kind}
    run = ul.finetune(problem, model, **how, **options)
    assert all(p.isfinite().all() for p in run.student.parameters())
    if method in ("primal-dual", "SISS", "FDivergence"):
        with pytest.raises(ValueError, match=r"data must be images with values in \[−1, 1\]"):
            ul.finetune(problem, model, data=torch.full((4, 1, 8, 8), 2.0), **how, **options)
