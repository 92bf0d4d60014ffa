"""Unlearning images from the command line: what is retained, what is compared, what fails first."""

import json

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler
from PIL import Image
from saved_ddpm import saved
from test_pictures import REFUSED, put

import unlearnlab as ul
from unlearnlab import baselines, data_unlearning, metrics, picture_report
from unlearnlab.data_unlearning import main, unlearn_images
from unlearnlab.images import ImageFolder, read_image, write_image
from unlearnlab.training.retained import Part, apart_from
from unlearnlab.training.returns import Return

STEPS = 20  # of the schedule


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A DDPM of 20 timesteps and 12 images, dark ones first; the first lies there twice."""
    root = tmp_path_factory.mktemp("retained")
    saved(root / "model", DDPMScheduler(STEPS, clip_sample=False))
    (root / "images" / "more").mkdir(parents=True)
    generator = np.random.default_rng(0)
    for i in range(11):
        pixels = generator.integers(0, 256, (8, 8), dtype=np.uint8)
        Image.fromarray(pixels // 2 if i < 6 else pixels // 2 + 128).save(
            root / "images" / f"{i:02}.png"
        )
    copy = (root / "images" / "00.png").read_bytes()
    (root / "images" / "more" / "copy.png").write_bytes(copy)
    return root


def arguments(folder, out, *more):
    given = ["--model", str(folder / "model"), "--images", str(folder / "images")]
    given += ["--out", str(out), "--steps", "2", "--batch", "2", *more]
    given += [] if "--forget" in more else ["--forget", str(folder / "images" / "00.png")]
    return given + ([] if "--at-most" in more else ["--threshold", "10"])


@pytest.mark.parametrize("kind", [baselines.Naive, baselines.EraseDiff])
def test_what_is_retained_holds_nothing_that_is_forgotten(folder, kind):
    model = ul.DDPM.from_pretrained(folder / "model")
    images = ImageFolder(folder / "images", model.shape)
    x = read_image(folder / "images" / "00.png", model.shape)
    problem = ul.ForwardKL(model, [ul.PointMass(x, model.schedule)], [10.0])
    every = images[torch.arange(len(images))]
    for data in (images, every, Part(every, torch.arange(len(every)))):
        kept = kind([problem], 4, data=data).data[0]
        assert len(kept) == len(images) - 2  # it lies there twice
        found = kept[torch.arange(len(kept))]
        assert not any(torch.equal(one, x) for one in found)
        assert all(any(torch.equal(one, other) for other in every) for one in found)
    # What stands for q is what q was trained on.
    assert baselines.SISS([problem], 4, data=images).data[0] is images
    with pytest.raises(ValueError, match=r"nothing is left to retain"):
        kind([problem], 4, data=x[None].repeat(3, 1, 1, 1))


def test_data_without_samples_to_forget():
    data = torch.tensor([[0.0, 1.0], [2.0, 3.0], [-0.0, 1.0], [4.0, 5.0]])
    assert torch.equal(apart_from(data, [data[:1]]), data[[1, 3]])
    assert apart_from(data, [data[:1] + 9]) is data


def test_distances_are_to_images_drawn_at_random_without_the_forgotten(folder, monkeypatch):
    model = ul.DDPM.from_pretrained(folder / "model")
    images = ImageFolder(folder / "images", model.shape)
    x = read_image(folder / "images" / "00.png", model.shape)
    run = unlearn_images(model, images, [x], thresholds=10.0, steps=1, batch=2, progress=False)
    seen = []
    monkeypatch.setattr(
        metrics, "kernel_distance", lambda drawn, real, d, subset: seen.append(real) or 0.5
    )
    descriptor = ul.digits.load_classifier().descriptor()
    for seed in (0, 0, 1):
        picture_report.report(run, images, [x], descriptor, t=8, samples=6, seed=seed)
    first, again, other = seen[::2]
    assert torch.equal(first, again) and not torch.equal(first, other)
    for real in (first, other):
        assert len(real) == 6 and not any(torch.equal(one, x) for one in real)
        assert len({one.numpy().tobytes() for one in real}) == 6
        bright = real.flatten(1).mean(1) > 0
        assert 0 < bright.sum() < 6, "the first by name are dark"


def test_a_short_schedule_needs_no_numbers(folder, tmp_path, capsys):
    """Two fifths of its steps, and every step of it."""
    assert Return().level(ul.Schedule()) == 400
    assert Return().level(ul.DDPM.from_pretrained(folder / "model").schedule) == 8
    for last, given in ((19, 20), (999, 1000)):
        says = f"noise_to must lie between 1 and {last}.*got {given}"
        betas = np.linspace(1e-4, 0.02, last + 1)
        with pytest.raises(ValueError, match=says):
            Return(noise_to=given).level(ul.Schedule(betas))
    main(arguments(folder, tmp_path / "out"))
    told = json.loads((tmp_path / "out" / "report.json").read_text())
    assert "yes" in capsys.readouterr().out and told["met"] == [True]
    assert told["moved on kept images"] > 0


FIRST = [
    (["--noise-to", "20"], "--noise-to must lie between 1 and 19.*got 20"),
    (["--noise-to", "0"], "noise_to must be a whole number of at least 1"),
    (["--within", "-1"], "within must be positive"),
    (["--samples", "11"], "--samples must be 0, or lie between 3 and 10,.*got 11"),
    (["--samples", "2"], "--samples must be 0, or lie between 3 and 10,.*got 2"),
    (["--samples", "-3"], "--samples must be 0.*got -3"),
    (["--background", "whitish"], "background must be a colour"),
    (["--forget", "a.png", "a.png"], "a.png' cannot be read .no such file"),
    (["--descriptor", "none.pt"], "none.pt' is no file"),
    (["--batch", "0"], "batch must be"),
    (["--method", "leave-out"], "at_most= is of method 'leave-out'"),
]


@pytest.mark.parametrize(("more", "message"), FIRST, ids=[" ".join(one[0]) for one in FIRST])
def test_what_would_fail_after_training_fails_before(folder, tmp_path, more, message):
    with pytest.raises((ValueError, OSError), match=message):
        main(arguments(folder, tmp_path / "out", *more))
    assert not (tmp_path / "out").exists()


def test_output_folders_that_cannot_be(folder, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match=r"--out '.*file/out' cannot be written to .*another"):
        main(arguments(folder, tmp_path / "file" / "out"))
    assert (tmp_path / "file").read_text() == "mine"
    for out in (folder / "images", folder):
        with pytest.raises(ValueError, match=r"--out .* holds --images"):
            main(arguments(folder, out))
    q = ul.GaussianMixture([1], [0], [1]).diffused()
    problem = ul.ReverseKL(q, [ul.GaussianMixture([1], [1], [1]).diffused()], [1.0])
    with pytest.raises(ValueError, match=r"folder '.*file' cannot be written to"):
        ul.finetune(problem, ul.ScoreNetwork(1), folder=tmp_path / "file", steps=1)


def test_pictures_to_forget_that_are_one(folder):
    model = ul.DDPM.from_pretrained(folder / "model")
    images = ImageFolder(folder / "images", model.shape)
    x = images[torch.tensor([0, 1, 0])]
    with pytest.raises(ValueError, match=r"forget\[2\] is the same picture as forget\[0\]"):
        unlearn_images(model, images, list(x), thresholds=10.0, steps=1)


def test_a_report_that_fails_costs_the_report_alone(folder, tmp_path, monkeypatch):
    def fails(*given, **more):
        raise ArithmeticError("no numbers")

    monkeypatch.setattr(data_unlearning, "report", fails)
    out = tmp_path / "out"
    with pytest.raises(RuntimeError, match=r"no report .ArithmeticError: no numbers.; the student"):
        main(arguments(folder, out))
    student = ul.DDPM.from_pretrained(out / "student")
    monkeypatch.undo()
    main(arguments(folder, out, "--resume"))  # nothing is trained again
    again = ul.DDPM.from_pretrained(out / "student")
    for one, two in zip(student.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, two)
    assert (out / "report.json").exists()


def test_a_run_never_trains_on_its_own_pictures(folder, tmp_path):
    """--out inside --images: what was written there is not read when the run is resumed."""
    images = tmp_path / "images"
    images.mkdir()
    for i, x in enumerate(ul.digits.data().images[:4]):
        write_image(images / f"{i}.png", x)
    given = ["--model", str(folder / "model"), "--images", str(images)]
    given += ["--forget", str(images / "0.png"), "--out", str(images / "run")]
    given += ["--threshold", "10", "--steps", "2", "--batch", "2"]
    main(given)
    assert (images / "run" / "reconstructions.png").exists()
    main([*given, "--resume"])  # refused, were the data others


def test_a_run_on_another_model_is_not_continued(folder, tmp_path):
    """Of one description, with other weights; and what differs in settings is said."""
    model = ul.DDPM.from_pretrained(folder / "model")
    other = model.for_training()
    with torch.no_grad():
        next(other.parameters()).add_(0.1)
    x = torch.rand(4, *model.shape) * 2 - 1

    def go(q, resume, steps=2):
        problem = ul.ForwardKL(q, [ul.PointMass(x[0], q.schedule)], [10.0])
        how = {"steps": steps, "batch": 2, "folder": tmp_path, "resume": resume}
        return ul.finetune(problem, q, data=x, evaluate=False, progress=False, **how)

    go(model, False)
    with pytest.raises(ValueError, match="of another run: its retained weights is"):
        go(other, True)
    go(model, True)
    assert len(go(model, True, steps=4).history["loss"]) == 2  # of at most five steps, one each
    with pytest.raises(ValueError, match="is of a run of 4 steps, and this one is of 2: a run is"):
        go(model, True)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_refused_before_the_first_step(folder, dtype):
    model = ul.DDPM.from_pretrained(folder / "model", dtype=dtype)
    x = torch.zeros(model.shape, dtype=dtype)
    problem = ul.ForwardKL(model, [ul.PointMass(x, model.schedule, dtype=dtype)], [10.0])
    with pytest.raises(ValueError, match=r"student has parameters of torch\.b?float16.*float32"):
        ul.finetune(problem, model, steps=1, batch=2, data=torch.zeros(4, *model.shape))


@pytest.mark.parametrize(("name", "content", "says"), REFUSED, ids=[one[0] for one in REFUSED])
def test_the_command_names_pictures_that_cannot_be_read(folder, tmp_path, name, content, says):
    path = put(tmp_path, name, content)
    for more in (["--forget", str(path)], ["--images", str(tmp_path)]):
        with pytest.raises((OSError, ValueError), match=f"{name}' cannot be read .*{says}"):
            main(arguments(folder, tmp_path / "out", *more, "--fit"))
    assert [one.name for one in tmp_path.iterdir()] == [name]
