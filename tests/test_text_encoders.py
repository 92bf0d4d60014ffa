"""Text encoders that are trained beside the network: gradients, files, and what stays as it was."""

import pytest
import small_pipelines
import torch
from diffusers import StableDiffusionPipeline

import unlearnlab as ul
from unlearnlab.diffusion.model import Effort
from unlearnlab.diffusion.quadrature import predict_all
from unlearnlab.stable_diffusion.prompt import Prompt
from unlearnlab.stable_diffusion.tiny import untrained

X = torch.randn((2, 4, 8, 8), generator=torch.Generator().manual_seed(0))
T = torch.tensor([10, 500])
HOW = {"steps": 2, "batch": 2, "sampling_steps": 2, "evaluate": False, "progress": False}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Weights are random: what is measured of them says nothing."""
    monkeypatch.setattr(Prompt, "effort", Effort(4, 4, 4, 4, pool=(2, 4), training=(2, 4)))


@pytest.fixture(scope="module")
def sd():
    return ul.TextToImage(untrained())


def problem(sd):
    return ul.ReverseKL(sd.prompt("a cowboy"), [sd.prompt("a horse")], [1.0])


def of(model):
    with torch.no_grad():
        return model.noise_prediction(X, T)


def moved(model):
    """Of A and B, those of the text encoder that have moved from where they began."""
    return [
        name
        for name, p in model.named_parameters()
        if name.startswith("encoders.") and "lora_B" in name and float(p.detach().abs().max()) > 0
    ]


def predicted(pipeline, text="a cowboy"):
    """By the pipeline's own text encoder and UNet, without the package."""
    tokens = pipeline.tokenizer(text, padding="max_length", return_tensors="pt").input_ids
    with torch.no_grad():
        states = pipeline.text_encoder(tokens)[0].expand(2, -1, -1)
        return pipeline.unet(X, T, encoder_hidden_states=states).sample


def test_a_student_begins_as_the_pipeline_and_leaves_it_alone(sd, tmp_path):
    q = sd.prompt("a cowboy")
    before, said = of(q), q.source.states("a cowboy")["states"].clone()
    student = sd.lora(rank=2, text="a cowboy", text_encoders=True)
    assert torch.allclose(of(student), before, atol=1e-6)
    run = ul.finetune(problem(sd), student, lr=1e-2, **HOW)
    assert len(moved(run.student)) == 2 * 4  # layers of the tiny encoder, and of each its attention
    assert not moved(student)  # it was copied
    assert torch.equal(of(sd.prompt("a cowboy")), before)
    assert torch.equal(sd.states("a cowboy")["states"], said)
    run.student.save(tmp_path)
    stock = untrained()
    stock.load_lora_weights(tmp_path)
    assert torch.allclose(of(run.student), predicted(stock), atol=1e-5)
    assert float((of(run.student) - before).abs().max()) > 1e-3


def test_gradients_are_those_of_finite_differences(sd):
    student = sd.lora(rank=2, text="a cowboy", text_encoders=True).for_training()
    layer = next(p for n, p in student.named_parameters() if n.startswith("encoders") and "_B" in n)

    def loss():
        return student(X, T).square().mean()

    loss().backward()
    found, place = layer.grad.clone(), divmod(int(layer.grad.abs().argmax()), layer.shape[1])
    ends = []
    for step in (1e-2, -1e-2):
        with torch.no_grad():
            layer[place] += step
            ends.append(float(loss()))
            layer[place] -= step
    assert (ends[0] - ends[1]) / 2e-2 == pytest.approx(float(found[place]), rel=0.02)


def test_its_scale_is_that_of_the_text_encoder_too(sd, tmp_path):
    run = ul.finetune(problem(sd), sd.lora(rank=2, text_encoders=True), lr=1e-2, **HOW)
    run.student.save(tmp_path)
    whole, plain = of(run.student), of(sd.prompt("a cowboy"))
    for student in (run.student, sd.load_lora(tmp_path, text="a cowboy")):
        assert torch.allclose(of(student), whole, atol=1e-5)
        student.scale(0.0)
        assert torch.allclose(of(student), plain, atol=1e-5)
        student.scale(1.0)
        assert torch.allclose(of(student), whole, atol=1e-5)


def test_a_run_goes_on_where_it_was_stopped(sd, tmp_path):
    how = HOW | {"steps": 4, "lr": 1e-2, "primal_steps": 1, "save_every": 1}
    student = sd.lora(rank=2, text_encoders=True)
    whole = ul.finetune(problem(sd), student, folder=tmp_path / "whole", **how)

    class StopError(Exception):
        pass

    def stop(loop):
        if loop.round == 2:
            raise StopError

    with pytest.raises(StopError):
        ul.finetune(problem(sd), student, folder=tmp_path / "cut", watch=stop, **how)
    again = ul.finetune(problem(sd), student, folder=tmp_path / "cut", resume=True, **how)
    for one, other in zip(whole.student.parameters(), again.student.parameters(), strict=True):
        assert torch.equal(one, other)


def test_trained_further_from_its_file_both_move(sd, tmp_path):
    first = ul.finetune(problem(sd), sd.lora(rank=2, text_encoders=True), lr=1e-2, **HOW)
    first.student.save(tmp_path)
    student = sd.load_lora(tmp_path)
    second = ul.finetune(problem(sd), student, lr=1e-2, **HOW)
    pairs = zip(student.named_parameters(), second.student.parameters(), strict=True)
    kinds = {name.split(".")[0] for (name, p), q in pairs if not torch.equal(p, q)}
    assert kinds == {"net", "encoders"}


def test_what_is_kept_off_the_device_is_not_trained(tmp_path):
    away = ul.TextToImage(untrained(), offload=True)
    with pytest.raises(ValueError, match=r"text_encoders=True, .*offload=True.*read it without"):
        away.lora(text_encoders=True)
    sd = ul.TextToImage(untrained())
    sd.lora(rank=2, text_encoders=True).save(tmp_path)
    loaded = away.load_lora(tmp_path)  # to draw by, not to train
    assert torch.allclose(of(loaded.prompt("a cowboy")), of(sd.prompt("a cowboy")), atol=1e-6)
    with pytest.raises(ValueError, match=r"the file that it was loaded from.*offload=True"):
        ul.finetune(problem(away), loaded, **HOW)
    with pytest.raises(TypeError, match="text_encoders must be True or False; got 'yes'"):
        away.lora(text_encoders="yes")


@pytest.mark.parametrize("form", ["diffusers", "kohya"])
def test_in_half_precision_the_numbers_of_the_file_stay(tmp_path, form):
    sd = ul.TextToImage(untrained().to(torch.bfloat16))
    student = sd.lora(rank=2, text_encoders=True)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in student.parameters():
            if p.requires_grad:
                p.copy_(0.05 * torch.randn(p.shape, generator=generator))
    student.save(tmp_path, form)
    again = sd.load_lora(tmp_path)
    pairs = zip(student.named_parameters(), again.parameters(), strict=True)
    moving = [(name, p, q) for (name, p), q in pairs if p.requires_grad]
    assert {name.split(".")[0] for name, *_ in moving} == {"net", "encoders"}
    for name, p, q in moving:
        assert q.requires_grad and q.dtype == torch.float32
        assert torch.equal(p, q), name


def test_prompts_are_read_by_their_own_encoders_in_one_call(sd):
    student = sd.lora(rank=2, text="a cowboy", text_encoders=True)
    with torch.no_grad():
        for name, p in student.encoders.named_parameters():
            if "lora_B" in name:
                p.fill_(0.3)
    mixed = [sd.prompt("a cowboy"), student.source.prompt("a cowboy")]  # of one network
    alone = [of(one) for one in mixed]
    with torch.no_grad():
        together = predict_all(mixed, X, T)
    assert float((alone[0] - alone[1]).abs().max()) > 1e-3
    for one, other in zip(alone, together, strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_a_masked_gradient_knows_layers_that_nobody_reads():
    """SDXL reads the last layer but one of its first text encoder."""
    sdxl = ul.TextToImage(small_pipelines.sdxl(), size=small_pipelines.PIXELS)
    student = sdxl.lora(rank=2, text_encoders=True)
    how = HOW | {"data": torch.zeros(2, *sdxl.shape), "anchor": sdxl.prompt("a house")}
    run = ul.baselines.salun(problem(sdxl), student, share=1.0, lr=1e-2, **how)
    ours = [n for n, _ in run.student.named_parameters() if n.startswith("encoders.")]
    still = {n for n in ours if "lora_B" in n} - set(moved(run.student))
    assert len(still) == 4 and len(moved(run.student)) == 12
    assert all(n.startswith("encoders.text_encoder.encoder.layers.1.") for n in still)


def test_stock_pipelines_see_one_more_adapter_and_no_other_part(sd):
    student = sd.lora(rank=2, text="a cowboy", text_encoders=True)
    stock = student.pipeline
    assert isinstance(stock, StableDiffusionPipeline)
    assert stock.text_encoder is student.encoders["text_encoder"]
    assert stock.vae is sd.pipeline.vae and stock.unet is student.net
