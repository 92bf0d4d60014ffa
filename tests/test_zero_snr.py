"""Schedules with zero signal at their end: what is left of them, and draws beside diffusers'."""

import diffusers
import pytest
import torch
from saved_ddpm import network, saved

import unlearnlab as ul
from unlearnlab.diffusion import sampling
from unlearnlab.diffusion.reading import Reading
from unlearnlab.stable_diffusion.tiny import untrained

SPACINGS = ("leading", "trailing", "linspace")


def stock(spacing="trailing", prediction="v_prediction", **options):
    return diffusers.DDIMScheduler(
        beta_schedule="scaled_linear",
        rescale_betas_zero_snr=True,
        timestep_spacing=spacing,
        prediction_type=prediction,
        clip_sample=False,
        **options,
    )


def test_the_last_step_alone_is_left_out():
    schedule = ul.Schedule.from_scheduler(stock())
    assert len(schedule) == 999 and schedule.ends_without_signal
    assert not ul.Schedule().ends_without_signal
    bars = stock().alphas_cumprod.double()
    assert float(bars[-1]) == 0
    assert torch.allclose(schedule.alphas_cumprod, bars[:-1], rtol=2e-5, atol=0)
    assert -17 < float(schedule.log_snr[-1]) < -14  # and not further: α is 4e-4 there


@pytest.mark.parametrize("steps", [1, 7, 20, 50])
@pytest.mark.parametrize("spacing", SPACINGS)
def test_spacings_count_it(spacing, steps):
    scheduler = stock(spacing)
    scheduler.set_timesteps(steps)
    visited = [min(int(t), 998) for t in scheduler.timesteps]
    assert ul.Schedule.from_scheduler(scheduler).timesteps(steps) == visited


@pytest.mark.parametrize("schedule", ["usual", "flow", "no signal"])
@pytest.mark.parametrize("spacing", (*SPACINGS, "log_snr"))
def test_every_number_of_steps_goes_from_noise_to_data(schedule, spacing):
    """By diffusers' formula in floating point 62 of 1000 numbers had a step at −1 besides."""
    made = {
        "usual": ul.Schedule(spacing=spacing),
        "flow": ul.Schedule.flow(spacing=spacing, shift=3.0),
        "no signal": ul.Schedule.from_scheduler(stock(), spacing=spacing),
    }[schedule]
    for steps in range(1, len(made)):
        visited = made.timesteps(steps)
        assert visited == sorted(set(visited), reverse=True)
        assert visited[-1] >= 0 and visited[0] < len(made)
        if spacing == "trailing":
            assert visited[0] == len(made) - 1
            assert len(visited) in ((steps, steps - 1) if schedule == "no signal" else (steps,))


def test_betas_that_are_rescaled_are_not_read_as_they_were():
    betas = torch.linspace(1e-4, 0.02, 1000).tolist()
    scheduler = stock(trained_betas=betas)
    schedule = ul.Schedule.from_scheduler(scheduler)
    assert schedule.ends_without_signal
    bars = scheduler.alphas_cumprod.double()[:-1]
    assert torch.allclose(schedule.alphas_cumprod, bars, rtol=2e-5, atol=0)


def test_half_precision_is_refused_where_it_is_amplified(tmp_path):
    folder = saved(tmp_path, stock())
    with pytest.raises(ValueError, match=r"zero signal .*bfloat16 is amplified: load .*float32"):
        ul.DDPM.from_pretrained(folder, dtype=torch.bfloat16)


def test_where_two_steps_fall_on_one_it_is_visited_once():
    schedule = ul.Schedule.from_scheduler(stock())
    visited = schedule.timesteps(999)
    assert len(visited) == len(set(visited)) == 998
    with pytest.raises(ValueError, match="steps must lie between 1 and 999; got 1000"):
        schedule.timesteps(1000)


def stocks(scheduler, net, x, timesteps):
    """Where the stock scheduler goes from x by so many of its timesteps."""
    for t in timesteps:
        with torch.no_grad():
            told = net(x, t).sample
        x = scheduler.step(told, t, x).prev_sample
    return x


@pytest.mark.parametrize("prediction", ["v_prediction", "sample"])
@pytest.mark.parametrize("spacing", ["leading", "trailing"])  # of linspace DDIM's steps differ
def test_images_are_those_of_diffusers(tmp_path, spacing, prediction):
    """To rounding but for the step that is left out, of which a thousandth of time is seen."""
    scheduler = stock(spacing, prediction)
    model = ul.DDPM.from_pretrained(saved(tmp_path, scheduler))
    x = torch.randn((2, *model.shape), generator=torch.Generator().manual_seed(0))
    chain = sampling.chain(model.schedule, "ddim", 10)
    mine = [taken.x_s for taken in sampling.unfold(model, x, chain, torch.Generator())]
    scheduler.set_timesteps(10)
    later = stocks(scheduler, model.unet, mine[0], scheduler.timesteps[1:])
    assert float((mine[-1] - later).abs().max()) < 1e-5
    whole = float((mine[-1] - stocks(scheduler, model.unet, x, scheduler.timesteps)).abs().max())
    if spacing == "leading":
        assert whole < 1e-5
    else:
        assert 1e-5 < whole < 5e-3


@pytest.mark.parametrize("spacing", SPACINGS)
def test_a_copy_walks_the_same_schedule(tmp_path, spacing):
    model = ul.DDPM.from_pretrained(saved(tmp_path / "a", stock(spacing)))
    model.save(tmp_path / "b")
    assert ul.DDPM.from_pretrained(tmp_path / "b").schedule == model.schedule
    reading = Reading("v_prediction")
    made = ul.DDPM(network(), ul.Schedule([0.1, 0.2, 0.4, 1.0], spacing=spacing), reading=reading)
    made.save(tmp_path / "c")
    again = ul.DDPM.from_pretrained(tmp_path / "c")
    assert again.schedule == made.schedule and len(again.schedule) == 3


def test_predicted_noise_is_refused():
    schedule = ul.Schedule.from_scheduler(stock())
    said = "zero signal at its end .*must predict v or the sample; got prediction 'noise'"
    with pytest.raises(ValueError, match=said):
        ul.wrap(lambda x, t: x, schedule, 2)
    with pytest.raises(ValueError, match=said):
        ul.DDPM(network(), schedule)
    pipeline = untrained()
    pipeline.scheduler = stock(prediction="epsilon")
    with pytest.raises(ValueError, match=said):
        ul.TextToImage(pipeline)


def test_latents_are_those_of_the_stock_pipeline():
    pipeline = untrained()
    pipeline.scheduler = stock("leading", steps_offset=1, set_alpha_to_one=False)
    sd = ul.TextToImage(pipeline)
    x = torch.randn((2, *sd.shape), generator=torch.Generator().manual_seed(0))
    prompt = sd.prompt("a cowboy")
    chain = sampling.chain(sd.schedule, "ddim", 10)
    *_, taken = sampling.unfold(prompt, x, chain, torch.Generator())
    pipeline.set_progress_bar_config(disable=True)
    how = {"num_inference_steps": 10, "guidance_scale": 1.0, "output_type": "latent"}
    theirs = pipeline("a cowboy", num_images_per_prompt=2, latents=x.clone(), **how).images
    assert float((taken.x_s - theirs).abs().max()) < 1e-4


def test_v_of_an_exact_mixture_gives_its_law():
    """The schedule that is left still ends in noise: draws have the mixture's mean and spread."""
    schedule = ul.Schedule.from_scheduler(stock())
    exact = ul.GaussianMixture([0.3, 0.7], [-2.0, 1.0], [0.5, 0.5]).diffused(schedule)

    def v(x, t):
        alpha, sigma = schedule.at(t, x)
        return (exact.noise_prediction(x, t) - sigma * x) / alpha

    model = ul.wrap(v, schedule, 1, prediction="v")
    drawn = model.sample(20_000, steps=100, seed=0).double()
    assert float(drawn.mean()) == pytest.approx(0.1, abs=0.04)
    assert float(drawn.std()) == pytest.approx((0.25 + 0.21 * 9) ** 0.5, abs=0.03)
