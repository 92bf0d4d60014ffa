"""The digits: data, the models that ship, and what their card says of them."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import unlearnlab as ul
from unlearnlab import metrics
from unlearnlab.digits import train

WEIGHTS = Path(ul.digits.__file__).parent / "weights"


@pytest.fixture(scope="module")
def classifier():
    return ul.digits.load_classifier()


@pytest.fixture(scope="module")
def held_out():
    return ul.digits.data(held_out=True)


def test_data_is_split_by_class_and_image():
    digits, held_out = ul.digits.data(), ul.digits.data(held_out=True)
    assert (len(digits), len(held_out)) == (1442, 355)
    assert digits.images.shape[1:] == (1, 8, 8)
    assert (float(digits.images.min()), float(digits.images.max())) == (-1.0, 1.0)
    every = torch.cat([digits.images, held_out.images]).flatten(1)
    assert len(every.unique(dim=0)) == 1797  # no image is in both
    assert (held_out.labels.bincount() >= 34).all()
    assert set(digits.of(3, 4).labels.tolist()) == {3, 4}
    assert len(digits.of(3, 4)) + len(digits.without(3, 4)) == len(digits)


def test_weights_are_small_and_safetensors():
    files = [path for path in WEIGHTS.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 4 << 20
    assert {path.suffix for path in files} == {".json", ".safetensors"}


def test_classifier_knows_the_held_out_digits(classifier, held_out):
    right = classifier(held_out.images).argmax(1) == held_out.labels
    assert float(right.float().mean()) >= 0.98
    assert classifier.descriptor()(held_out.images).square().mean(1).allclose(torch.ones(355))


def test_conditional_model_draws_what_it_is_asked_for(classifier):
    model = ul.digits.load_model("conditional")
    assert model.classes == 10 and model.label is None
    right = []
    for label in range(10):
        drawn = model.labelled(label).sample(24, seed=label, steps=20)
        right.append(classifier(drawn).argmax(1) == label)
    assert float(torch.cat(right).float().mean()) >= 0.95


def test_paths_of_fifty_steps_count_more_than_what_is_drawn_differs():
    """KL of all digits from the fours, in nats: 36 by Lemma 3, from below 26, 220 along paths."""
    q, fours = (
        ul.digits.load_model("unconditional"),
        ul.digits.load_model("conditional").labelled(4),
    )
    student = q.for_training().requires_grad_(False)
    student.denoiser = False  # as after a gate
    exact, below = ul.kl(q, fours, samples=96), student.separation(fours, samples=96)
    assert float(exact) == pytest.approx(36, abs=4 * exact.stderr)
    assert 0.5 * float(exact) < float(below) < float(exact)
    assert float(student.kl(fours, kind="path", samples=8)) > 3 * float(exact)


@pytest.mark.parametrize("name", ["unconditional", "flow"])
def test_unconditional_models_are_near_the_held_out_digits(name, classifier, held_out):
    """Far nearer than images of another class alone, or noise."""
    descriptor = classifier.descriptor()
    drawn = ul.digits.load_model(name).sample(200, seed=0, steps=20)

    def distance(images):
        return float(metrics.kernel_distance(images, held_out.images, descriptor, subset=140))

    assert distance(drawn) < 0.05
    assert distance(ul.digits.data().of(1).images) > 0.3
    assert distance(torch.rand(200, 1, 8, 8) * 2 - 1) > 0.3


@pytest.mark.parametrize("shift", [0.2, 0.6])
def test_the_error_of_a_kernel_distance_is_that_of_other_images(shift):
    """The spread of thirty distances, of fresh images each."""
    flat = torch.nn.Flatten()
    generator = torch.Generator().manual_seed(0)
    found = []
    for seed in range(30):
        own, others = torch.randn(2, 220, 1, 4, 4, generator=generator) / 4
        how = {"subset": 150, "subsets": 20, "seed": seed}
        found.append(metrics.kernel_distance(own + shift / 4, others, flat, **how))
    spread = np.std([float(one) for one in found])
    assert np.mean([one.stderr for one in found]) == pytest.approx(spread, rel=0.35)


def test_memorised_images_come_back_from_noise():
    """From the model that saw them often, not from the one that saw them once."""
    images = ul.digits.data().images
    often = max(ul.digits.PLANTED, key=ul.digits.PLANTED.get)
    x = images[often]
    alike = {}
    for name in ("memorised", "unconditional"):
        back = metrics.reconstruct(ul.digits.load_model(name), x, 250, n=24, steps=25)
        alike[name] = float((back - x).square().mean().sqrt())
    assert alike["memorised"] < 0.6 * alike["unconditional"], alike


def test_temperature_may_be_the_dimension():
    model, four = ul.digits.load_model("unconditional"), ul.digits.load_model(label=4)
    problem = ul.Likelihood(model, [four], thresholds=[0.1], statistic="ratio", temperature="dim")
    assert problem.temperature == 64.0


def test_label_is_checked():
    with pytest.raises(ValueError, match=r"name must be one of conditional, unconditional"):
        ul.digits.load_model("mnist")
    with pytest.raises(ValueError, match=r"label must be one of the model's .0 to 9.; got 10"):
        ul.digits.load_model("conditional", label=10)


def test_training_resumes_to_the_same_weights(tmp_path, monkeypatch):
    """Fifteen steps at once, and in two parts."""
    whole = train.train_ddpm("conditional", steps=15)

    class StopError(Exception):
        pass

    from unlearnlab.training.loop import Loop

    one_round = Loop.one_round

    def stopping(loop):
        if loop.round == 2:
            loop.save()
            raise StopError
        return one_round(loop)

    with monkeypatch.context() as patch:
        patch.setattr(Loop, "one_round", stopping)
        with pytest.raises(StopError):
            train.train_ddpm("conditional", steps=15, folder=tmp_path)
    rest = train.train_ddpm("conditional", steps=15, folder=tmp_path)
    for one, two in zip(whole.parameters(), rest.parameters(), strict=True):
        assert torch.equal(one, two)


def test_the_script_writes_what_ships(tmp_path):
    """The same names and shapes, for a run of five steps."""
    train.main(["unconditional", "--out", str(tmp_path), "--steps", "5"])
    path = Path("unet") / "diffusion_pytorch_model.safetensors"
    made, ships = (
        load_file(folder / path)
        for folder in (tmp_path / "unconditional", WEIGHTS / "unconditional")
    )
    assert {k: (v.shape, v.dtype) for k, v in made.items()} == {
        k: (v.shape, v.dtype) for k, v in ships.items()
    }
    assert (
        json.loads(
            (tmp_path / "unconditional" / "scheduler" / "scheduler_config.json").read_text()
        )["trained_betas"]
        == ul.Schedule().betas.tolist()
    )


def test_metrics_name_bad_input(classifier):
    descriptor = classifier.descriptor()
    images = torch.zeros(4, 1, 8, 8)
    with pytest.raises(ValueError, match="subset=200 needs as many images; got 4 and 4"):
        metrics.kernel_distance(images, images, descriptor)
    with pytest.raises(ValueError, match=r"images must be finite and of shape"):
        metrics.features(images[0], descriptor)
    model = ul.digits.load_model("unconditional")
    with pytest.raises(ValueError, match="t must lie between 0 and 999; got 1000"):
        metrics.reconstruct(model, images[0], 1000)
    with pytest.raises(FileNotFoundError, match="is no file: give a TorchScript"):
        metrics.load_descriptor("nowhere.pt")


@pytest.mark.filterwarnings("ignore:`torch.jit.trace:DeprecationWarning")
def test_a_users_torchscript_descriptor(tmp_path, classifier):
    images = ul.digits.data().images[:8]
    torch.jit.trace(classifier.descriptor(), images).save(tmp_path / "own.pt")
    own = metrics.load_descriptor(tmp_path / "own.pt")
    assert torch.allclose(own(images), classifier.descriptor()(images))
    alike = metrics.similarity(images, images, own)
    assert torch.allclose(alike.diag(), torch.ones(8, dtype=torch.float64))
    (tmp_path / "text.pt").write_text("no TorchScript")
    with pytest.raises(ValueError, match="is not TorchScript"):
        metrics.load_descriptor(tmp_path / "text.pt")


def test_reconstruction_of_little_noise_is_the_image():
    model = ul.digits.load_model("unconditional")
    x = ul.digits.data().images[0]
    back = metrics.reconstruct(model, x, 5, n=8, steps=50)
    assert float((back - x).abs().mean()) < 0.03
    assert torch.equal(metrics.reconstruct(model, x, 5, n=8, steps=50), back)


@pytest.mark.parametrize(
    ("images", "labels", "words"),
    [
        (torch.zeros(2, 8, 8), torch.zeros(2).long(), r"images must be finite, \(n, 1, 8, 8\)"),
        (torch.full((2, 1, 8, 8), 16.0), torch.zeros(2).long(), r"in \[−1, 1\]; got 16 to 16"),
        (torch.zeros(2, 1, 8, 8), torch.zeros(1).long(), "labels must be 2 whole numbers"),
        (torch.zeros(2, 1, 8, 8), torch.zeros(2), "labels must be 2 whole numbers.*float32"),
        (torch.zeros(2, 1, 8, 8), torch.tensor([3, 12]), "labels must lie between 0 and 9"),
    ],
)
def test_digits_must_be_digits(images, labels, words):
    with pytest.raises(ValueError, match=words):
        ul.digits.Digits(images, labels)


def test_something_must_be_left_to_retain():
    digits = ul.digits.data().take(torch.arange(30))
    model = ul.digits.load_model("unconditional")
    whole = ul.ForwardKL(model, [ul.DataSet(digits.images, model.schedule)], thresholds=[100.0])
    with pytest.raises(ValueError, match="nothing is left to retain"):
        ul.baselines.naive(whole, model, data=digits.images, steps=1, batch=2)
    with pytest.raises(ValueError, match="samples must be one or more finite samples"):
        ul.DataSet(digits.of(9).of(8).images, model.schedule)
