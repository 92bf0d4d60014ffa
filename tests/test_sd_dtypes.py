"""Half precision: the UNet's weights are rounded; latents, losses and low-rank weights are not."""

import pytest
import torch
from safetensors.torch import load_file

import unlearnlab as ul
from unlearnlab.diffusion.model import Effort
from unlearnlab.diffusion.quadrature import predict
from unlearnlab.stable_diffusion import Prompt
from unlearnlab.stable_diffusion.tiny import untrained

HALF = [torch.bfloat16, torch.float16]
PROBLEMS = [(ul.ReverseKL, 1.0), (ul.ForwardKL, 1.0), (ul.Likelihood, 0.9)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("pipeline")
    untrained().save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def pipelines(folder):
    return {d: ul.TextToImage.from_pretrained(folder, dtype=d) for d in [torch.float32, *HALF]}


def points():
    x = torch.randn((4, 4, 8, 8), generator=torch.Generator().manual_seed(1))
    return x, torch.tensor([0, 300, 600, 999])


def tolerance(dtype):
    """Some fifty roundings of half an epsilon each, at random: √50·ε/2 < 4ε."""
    return 4 * torch.finfo(dtype).eps


def distance(one, other):
    return float((one.float() - other).norm() / other.norm())


def low_rank(student):
    return {name: p for name, p in student.net.named_parameters() if "lora_" in name}


def shaken(student):
    """With random changes in place of none, equal for all dtypes."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in low_rank(student).values():
            p.copy_(0.3 * torch.randn(p.shape, generator=generator))
    return student


def trained(sd, kind, threshold, **options):
    q, forget = sd.prompt("a cowboy"), [sd.prompt("a horse")]
    named = {"statistic": "ratio", "temperature": "dim"} if kind is ul.Likelihood else {}
    steps = {} if kind is ul.ForwardKL else {"sampling_steps": 3}
    how = {"steps": 2, "batch": 2, "primal_steps": 1, "average": 0.0, "multipliers": 0.3} | options
    problem = kind(q, forget, [threshold], **named)
    return ul.finetune(problem, sd.lora(rank=2), evaluate=False, **how, **steps)


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("guidance", [1.0, 4.0])
def test_a_prompt_and_a_student_predict_as_in_full_precision(pipelines, dtype, guidance):
    half, full = pipelines[dtype], pipelines[torch.float32]
    for ours, theirs in [
        (half.prompt("a cowboy"), full.prompt("a cowboy")),
        (shaken(half.lora(2, text="a cowboy")), shaken(full.lora(2, text="a cowboy"))),
    ]:
        ours.guidance = theirs.guidance = guidance
        near = predict(ours, *points())
        assert near.dtype == torch.float32 == ours.dtype
        # Guidance w takes (1 − w) and w of two predictions: their errors add.
        assert distance(near, predict(theirs, *points())) < tolerance(dtype) * (2 * guidance - 1)


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize(("kind", "threshold"), PROBLEMS)
def test_steps_that_half_precision_would_lose(pipelines, monkeypatch, dtype, kind, threshold):
    """A rate of 1e-5 is below the spacing of half-precision numbers near most weights of A."""
    monkeypatch.setattr(Prompt, "effort", Effort(4, 4, 4, 4, training=(2, 4)))
    monkeypatch.setattr(Prompt, "stand_in", lambda prompt, *, seed: points()[0])
    sd = pipelines[dtype]
    run = trained(sd, kind, threshold, lr=1e-5)
    assert run.status != "diverged" and torch.as_tensor(run.history["loss"]).isfinite().all()
    after = low_rank(run.student)
    assert {p.dtype for p in after.values()} == {torch.float32}
    kept = {p.dtype for name, p in run.student.net.named_parameters() if "lora_" not in name}
    assert kept == {dtype}
    moved = [
        (after[name] != p).flatten() for name, p in low_rank(sd.lora(2)).items() if "lora_A" in name
    ]
    assert float(torch.cat(moved).float().mean()) > 0.8
    if kind is ul.ForwardKL:  # the other losses are near zero, the difference of like numbers
        full = trained(pipelines[torch.float32], kind, threshold, lr=1e-5)
        assert run.history["loss"] == pytest.approx(full.history["loss"], rel=tolerance(dtype))


def test_squared_norms_of_large_latents_are_within_range():
    """Those of 64×64×4 numbers, in nats, are beyond the largest half-precision number."""
    sd = ul.TextToImage(untrained())
    sd.shape = (4, 64, 64)
    sd.pipeline.to(torch.float16)
    prompt = sd.prompt("a cowboy")
    objective = ul.training.objective.Denoising(prompt, 1, 2, torch.zeros(10, *prompt.shape))
    zeros = torch.zeros(2, *prompt.shape, dtype=prompt.dtype)
    assert 65504 < float(objective.gap(zeros, zeros + 1).max()) < float("inf")


@pytest.mark.parametrize("dtype", HALF)
def test_a_saved_student_predicts_the_same(pipelines, dtype, tmp_path):
    sd = pipelines[dtype]
    student = shaken(sd.lora(2, text="a cowboy"))
    student.save(tmp_path)
    kept = load_file(tmp_path / "pytorch_lora_weights.safetensors")
    assert {tensor.dtype for tensor in kept.values()} == {torch.float32}
    again = sd.load_lora(tmp_path, text="a cowboy")
    assert torch.equal(predict(again, *points()), predict(student, *points()))
    pairs = zip(low_rank(again).values(), low_rank(student).values(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
    images = sd.decode(student.sample(1, steps=2))
    assert images.dtype == torch.float32 and images.isfinite().all()
    assert sd.encode(images).dtype == torch.float32
