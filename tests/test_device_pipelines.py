"""With `--device`: the tiny Stable Diffusion, its LoRA students and half precision."""

import pytest
import torch
from device_models import near, on
from fake_device import NAME

import unlearnlab as ul
from unlearnlab.diffusion.model import Effort
from unlearnlab.diffusion.quadrature import predict, predict_all
from unlearnlab.stable_diffusion import Prompt, classifier, train
from unlearnlab.stable_diffusion.loading import TINY
from unlearnlab.stable_diffusion.scenes import drawings

pytestmark = pytest.mark.device
CPU = "cpu"
TEXTS = ("a cowboy", "a horse")
X = torch.randn((3, 4, 8, 8), generator=torch.Generator().manual_seed(1))
T = torch.tensor([100, 500, 900])


@pytest.fixture(scope="module")
def here():
    return ul.TextToImage.from_pretrained("tiny")


@pytest.fixture(scope="module")
def there(device):
    return ul.TextToImage.from_pretrained("tiny", device=device)


def problem(sd):
    q, q1 = map(sd.prompt, TEXTS)
    how = {"statistic": "ratio", "temperature": "dim", "reference": sd.prompt("")}
    return ul.Likelihood(q, [q1], [0.9], **how)


@pytest.fixture(scope="module")
def runs(here, there):
    """Two steps of D.3 on each device, at a rate that moves the pictures."""
    how = {"steps": 2, "batch": 2, "sampling_steps": 3, "multipliers": [50.0], "lr": 0.1}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Prompt, "effort", Effort(4, 4, 4, 4, pool=(2, 4), training=(2, 4)))
        return [
            ul.finetune(problem(sd), sd.lora(2), evaluate=False, average=0.0, **how)
            for sd in (here, there)
        ]


def drawn(pipeline, x, **options):
    """What a stock pipeline makes of given noise."""
    how = {"prompt": TEXTS[0], "num_inference_steps": 4, "guidance_scale": 1.0}
    return pipeline(**how | {"output_type": "latent"} | options, latents=x.clone()).images


def test_latents_and_pictures_are_those_of_a_cpu(here, there, device):
    one, other = (sd.prompt("a cowboy").sample(2, steps=4, seed=1) for sd in (here, there))
    assert on(other, device)
    near(other, one, atol=1e-3)
    pictures = there.decode(one)  # latents may lie anywhere, as pictures may
    assert on(pictures, device)
    near(pictures, here.decode(one), atol=1e-3)
    near(there.encode(pictures.cpu()), there.encode(pictures), rtol=0, atol=0)
    tell = classifier.load_classifier(device=device)
    known = classifier.load_classifier().attributes(pictures.cpu())
    for found in (pictures, pictures.cpu()):
        assert torch.equal(tell.attributes(found).cpu(), known)


def test_prompts_and_guidance_are_those_of_a_cpu(here, there, device):
    found = [
        predict_all(
            [sd.prompt(TEXTS[0], guidance=3.0), sd.prompt(TEXTS[1])], X.to(place), T.to(place)
        )
        for sd, place in ((here, CPU), (there, device))
    ]
    for one, other in zip(*found, strict=True):
        assert on(other, device)
        near(other, one, rtol=1e-3, atol=1e-3)


def test_log_likelihoods_are_those_of_a_cpu(here, there, device):
    one, other = (
        torch.from_numpy(problem(sd).values_at(X[:1].to(place))).log()
        for sd, place in ((here, CPU), (there, device))
    )
    near(other, one, atol=1e-4)


def test_a_student_trains_as_on_a_cpu(runs, device):
    one, other = runs
    assert on(other.student, device) and one.status != "diverged" != other.status
    assert other.multipliers == pytest.approx(one.multipliers, rel=1e-3)
    for key in ("objective", "constraints"):
        assert other.history[key] == pytest.approx(one.history[key], rel=1e-2, abs=1e-2)


def test_stock_diffusers_draws_the_students_pictures(runs, there, device, tmp_path):
    from diffusers import StableDiffusionPipeline

    if device == NAME:
        pytest.skip("safetensors reads memory, and the fake device has none")
    student, x = runs[1].student, X[:1].to(device)
    student.save(tmp_path)
    stock = StableDiffusionPipeline.from_pretrained(TINY, use_safetensors=True)
    stock.to(device, torch.float32)
    stock.set_progress_bar_config(disable=True)
    before = drawn(stock, x)
    stock.load_lora_weights(tmp_path)
    after = drawn(stock, x)
    assert on(after, device)
    assert float((after - before).abs().max()) > 0.1
    near(after, drawn(student.pipeline, x))
    again = there.load_lora(tmp_path, text=TEXTS[0])
    assert all(on(p, device) for p in again.net.parameters())
    near(drawn(again.pipeline, x), after)
    pictures = drawn(stock, x, output_type="pt")
    near(2 * pictures - 1, there.decode(after), atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_near_full(dtype, there, device):
    """Some fifty roundings of half an epsilon each, at random: √50·ε/2 < 4ε."""
    half = ul.TextToImage.from_pretrained("tiny", dtype=dtype, device=device)
    found, exact = (
        predict(sd.prompt(TEXTS[0]), X.to(device), T.to(device)) for sd in (half, there)
    )
    assert on(found, device) and found.dtype == torch.float32
    assert float((found - exact).norm() / exact.norm()) < 4 * torch.finfo(dtype).eps
    student = half.lora(2, text=TEXTS[0])
    trained = [p for p in student.parameters() if p.requires_grad]
    if device != NAME:  # which cannot be given other numbers in place
        near(predict(student, X.to(device), T.to(device)), found, rtol=0, atol=0)  # as it begins
    assert trained and all(on(p, device) and p.dtype == torch.float32 for p in trained)


@pytest.mark.parametrize("part", ["autoencoder", "denoiser"])
def test_the_tiny_pipeline_can_be_trained_there(part, device, tmp_path, monkeypatch):
    """Two steps: the first loss is the CPU's."""
    monkeypatch.setitem(train.BATCH, part, 2)
    scenes, losses = drawings(20, seed=0), []
    loop = train.unconstrained

    def watched(*args, **options):
        losses.append(loop(*args, **options).history["loss"])

    monkeypatch.setattr(train, "unconstrained", watched)
    for place in (CPU, device):
        how = {"steps": 2, "seed": 0, "folder": tmp_path / f"{len(losses)}", "device": place}
        if part == "autoencoder":
            train.train_autoencoder(scenes, **how)
        else:
            vae = train.tiny.autoencoder(0).to(place)
            train.train_denoiser(vae, scenes, **how)
    near(losses[1], losses[0], rtol=1e-3)


def test_parts_that_are_kept_elsewhere_come_when_they_are_used(here, device):
    away = ul.TextToImage.from_pretrained("tiny", device=device, offload=True)
    prompt = away.prompt("a cowboy")
    found, expected = (one.sample(2, steps=4, seed=1) for one in (prompt, here.prompt("a cowboy")))
    assert on(found, device)
    near(found, expected, atol=1e-3)
    near(away.decode(found), here.decode(expected), atol=1e-2)
    near(away.encode(here.decode(expected)), here.encode(here.decode(expected)), atol=1e-2)
    parts = [away.pipeline.vae, away.pipeline.text_encoder]
    assert {p.device.type for part in parts for p in part.parameters()} == {"cpu"}
    assert all(on(p, device) for p in away.pipeline.unet.parameters())
