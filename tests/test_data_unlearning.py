"""Images and models on disk, from the command line, in one process and two."""

import json
import re
from shutil import copytree

import numpy as np
import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler
from launched import launched
from PIL import Image
from saved_ddpm import saved

import unlearnlab as ul
from unlearnlab.data_unlearning import main, strangers, unlearn_images
from unlearnlab.images import ImageFolder, contact_sheet, read_image, write_image

SHAPE = (3, 8, 8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A DDPM in diffusers' format and 24 images, of which it knows nothing."""
    root = tmp_path_factory.mktemp("scale")
    saved(root / "model", DDPMScheduler(), in_channels=3, out_channels=3, attention_head_dim=4)
    generator = np.random.default_rng(0)
    (root / "images").mkdir()
    for i in range(24):
        pixels = generator.integers(0, 256, (*SHAPE[1:], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / "images" / f"{i:02}.png")
    return root


@pytest.fixture
def little(monkeypatch):
    """Estimates spend a quarter: what is drawn is not asked of these runs."""
    monkeypatch.setattr(ul.DDPM, "effort", ul.DDPM.effort._replace(samples=128, draws=128))


def arguments(folder, out, *more):
    given = ["--model", str(folder / "model"), "--images", str(folder / "images")]
    forget = [str(folder / "images" / f"{i:02}.png") for i in (0, 1)]
    given += ["--forget", *forget, "--out", str(out), "--steps", "12", "--batch", "4"]
    known = {"--threshold", "--at-most", "--relative"} & set(more)
    asked = [] if known else ["--relative", "1.5"]
    return [*given, "--lr", "1e-3", *asked, *more]


def test_images_survive_the_disk(tmp_path):
    image = (torch.arange(3 * 8 * 8).reshape(3, 8, 8) % 256) / 127.5 - 1
    write_image(tmp_path / "a.png", image)
    assert torch.allclose(read_image(tmp_path / "a.png", (3, 8, 8)), image, atol=1e-6)
    grey = image[:1]
    write_image(tmp_path / "b.png", grey)
    assert torch.allclose(read_image(tmp_path / "b.png", (1, 8, 8)), grey, atol=1e-6)
    sheet = contact_sheet([torch.zeros(4, 1, 8, 8), torch.ones(4, 1, 8, 8)], scale=2)
    assert sheet.shape == (1, 40, 80)


def test_folder_reads_what_is_asked(folder):
    images = ImageFolder(folder / "images", SHAPE)
    assert images.shape == (24, *SHAPE)
    chosen = images[torch.tensor([3, 3, 7])]
    assert torch.equal(chosen[0], chosen[1])
    assert torch.equal(chosen[2], read_image(folder / "images" / "07.png", SHAPE))


def test_a_picture_to_forget_that_is_not_among_the_images(folder, tmp_path):
    """A copy of it that was encoded again would stay with what is retained."""
    images = ImageFolder(folder / "images", SHAPE)
    again = tmp_path / "again.jpg"
    Image.open(folder / "images" / "00.png").save(again, quality=50)
    copied = tmp_path / "copied.bmp"
    Image.open(folder / "images" / "01.png").save(copied)
    paths = [str(again), str(copied)]
    found = strangers(images, [read_image(path, SHAPE) for path in paths], paths)
    assert found == [str(again)]


def test_images_that_differ_are_named_or_fitted(folder, tmp_path):
    Image.new("L", (40, 20), 128).save(tmp_path / "grey.png")
    with pytest.raises(ValueError, match=r"grey.png.* is L of 40×20 pixels, .*RGB of 8×8.*fit"):
        ImageFolder(tmp_path, SHAPE)
    fitted = ImageFolder(tmp_path, SHAPE, fit=True)[torch.tensor([0])]
    assert fitted.shape == (1, *SHAPE) and float((fitted - 0.5 / 127.5).abs().max()) < 1e-6
    (tmp_path / "broken.png").write_bytes((tmp_path / "grey.png").read_bytes()[:40])
    with pytest.raises(ValueError, match=r"broken.png.* cannot be read.*skip_unreadable"):
        ImageFolder(tmp_path, SHAPE, fit=True)
    left = ImageFolder(tmp_path, SHAPE, fit=True, skip_unreadable=True)
    assert len(left) == 1 and [p.name for p in left.skipped] == ["broken.png"]
    with pytest.raises(FileNotFoundError, match="holds no image"):
        ImageFolder(folder / "model", SHAPE)
    with pytest.raises(ValueError, match=r"shape must be \(1 or 3"):
        ImageFolder(tmp_path, (4, 8, 8))


def test_models_on_disk_are_diffusers(folder, tmp_path):
    """Saved by diffusers, loaded by us, saved by us, loaded by diffusers: one network."""
    model = ul.DDPM.from_pretrained(folder / "model")
    x, t = torch.randn(2, *SHAPE), torch.tensor([10, 900])
    model.save(tmp_path / "again")
    stock = DDPMPipeline.from_pretrained(tmp_path / "again")
    with torch.no_grad():
        torch.testing.assert_close(
            model.noise_prediction(x, t), stock.unet(x, t).sample, rtol=0, atol=0
        )
    assert torch.allclose(stock.scheduler.betas.double(), model.schedule.betas, atol=1e-8)


def test_folders_without_safetensors_are_refused(folder, tmp_path):
    copytree(folder / "model", tmp_path / "model")
    weights = tmp_path / "model" / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(ValueError, match=r"\.bin is not safetensors"):
        ul.DDPM.from_pretrained(tmp_path / "model")


def test_a_hub_id_without_a_network_says_what_to_do(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        FileNotFoundError, match=r"no DDPM found at 'nobody/nothing'.*give a folder"
    ):
        ul.DDPM.from_pretrained("nobody/nothing")


def test_from_the_command_line(folder, little, tmp_path, capsys):
    out = tmp_path / "run"
    main(arguments(folder, out))
    report = json.loads((out / "report.json").read_text())
    assert len(report["forgotten"]) == 2 and len(report["multipliers"]) == 2
    told = capsys.readouterr().out
    rows = [line.split() for line in told.splitlines()]
    assert rows[0] == ["before", "after", "met"] and rows[1][0] == "00.png"
    for i, row in enumerate(rows[1:3]):
        ends = [report[f"constraints {when}"][i] for when in ("before", "after")]
        assert row[-3:] == [*(f"{x:.4g}" for x in ends), "yes" if report["met"][i] else "no"]
    assert str(out / "student") in told and "report.json" in told
    assert Image.open(out / "reconstructions.png").size[1] > 32
    student = ul.DDPM.from_pretrained(out / "student")
    pretrained = ul.DDPM.from_pretrained(folder / "model")
    pairs = zip(student.parameters(), pretrained.parameters(), strict=True)
    assert any(not torch.equal(one, two) for one, two in pairs)
    with pytest.raises(ValueError, match="already holds a run; resume=True"):
        main(arguments(folder, out))
    main(arguments(folder, out, "--resume"))  # finished: nothing is trained again
    assert json.loads((out / "report.json").read_text()) == report


def test_a_run_is_continued_where_all_of_it_was_moved(folder, little, tmp_path):
    """Model, images and the run's folder: what counts is in them, not where they lie."""

    def run(root, resume):
        model = ul.DDPM.from_pretrained(root / "model")
        images = ImageFolder(root / "images", SHAPE)
        forget = [read_image(root / "images" / "00.png", SHAPE)]
        how = {"steps": 2, "batch": 2, "folder": root / "run", "resume": resume}
        return unlearn_images(model, images, forget, thresholds=10.0, progress=False, **how)

    copytree(folder, tmp_path / "first")
    run(tmp_path / "first", False)
    (tmp_path / "then").mkdir()
    moved = (tmp_path / "first").rename(tmp_path / "then" / "second")
    run(moved, True)
    config = moved / "model" / "scheduler" / "scheduler_config.json"
    config.write_text(config.read_text().replace("0.02", "0.03"))
    with pytest.raises(ValueError, match=r"of another run: .*its retained schedule"):
        run(moved, True)


@pytest.mark.parametrize("asked", ["--threshold", "--relative"])
def test_what_asks_for_nothing_is_said_first(folder, little, tmp_path, capsys, asked):
    main(arguments(folder, tmp_path / "run", asked, "0", "--steps", "1"))
    told = capsys.readouterr()
    first = told.err.splitlines()[:2]
    for i, line in enumerate(first):
        start = rf"KL\(q_i‖p\) ≥ 0, constraint {i}: q meets it already, .*: nothing to do"
        assert re.fullmatch(start, line), told.err
    assert all(row.split()[-1] == "yes" for row in told.out.splitlines()[1:3])


def test_a_share_is_asked_for_on_the_command_line(folder, little, tmp_path, capsys):
    """A model that knows no image gives none back: the share holds, and the run says so."""
    out = tmp_path / "run"
    main(arguments(folder, out, "--at-most", "0.5", "--noise-to", "300", "--within", "0.2"))
    report = json.loads((out / "report.json").read_text())
    assert report["status"] == "converged" and report["thresholds"] == [0.5, 0.5]
    assert capsys.readouterr().err.count("q meets it already, by its 0: nothing to do") == 2
    assert (out / "student" / "model_index.json").exists()
    asked = ("--at-most", "0.5", "--noise-to", "1000")
    with pytest.raises(ValueError, match=r"--noise-to must lie between 1 and 999.*got 1000"):
        main(arguments(folder, tmp_path / "late", *asked))
    assert not (tmp_path / "late").exists()


def test_two_processes_end_where_one_does(folder, tmp_path):
    """Two batches to a step, on one process or on one each: the same run but for rounding."""
    found, students = [], []
    for processes in (1, 2):
        out = tmp_path / str(processes)
        given = arguments(folder, out, "--threshold", "3000", "--accumulation", str(2 // processes))
        if processes == 1:  # here, to start a process less
            main(given)
        else:
            launched(processes, "-m", "unlearnlab.data_unlearning", *given)
        found.append(json.loads((out / "report.json").read_text()))
        students.append(ul.DDPM.from_pretrained(out / "student"))
    one, two = (np.array(report["multipliers"]) for report in found)
    assert one.min() > 0 and np.allclose(one, two, rtol=1e-3), (one, two)
    for a, b in zip(*(student.parameters() for student in students), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


def test_bad_input_is_named(folder):
    model = ul.DDPM.from_pretrained(folder / "model")
    images = torch.rand(5, *SHAPE) * 2 - 1
    cases = [
        ((images, []), {}, "forget is empty"),
        ((images, list(images)), {}, "nothing is left to retain"),
        ((images, [images[0]]), {"method": "magic"}, "method must be one of"),
        (
            (images * 127.5 + 127.5, [images[0]]),
            {},
            r"data must be images with values in \[−1, 1\]",
        ),
        ((images[:, :1], [images[0]]), {}, "data must be samples of shape"),
    ]
    for given, options, message in cases:
        with pytest.raises(ValueError, match=message):
            unlearn_images(model, *given, relative=1.1, steps=1, batch=2, **options)
    with pytest.raises(ValueError, match=r"label must be one of the model's .none"):
        model.labelled(3)
