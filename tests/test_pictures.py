"""Picture files of every kind: read as a viewer shows them, or refused by name."""

import io
import os
import struct
import warnings
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, PngImagePlugin

import unlearnlab as ul
from unlearnlab import metrics
from unlearnlab.images import ImageFolder, read_image, write_image

SIDE = 8
RGB, GREY = (3, SIDE, SIDE), (1, SIDE, SIDE)
HALVES = np.zeros((SIDE, SIDE), np.uint8)
HALVES[: SIDE // 2] = 255  # white above, black below
COLOURS = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
RED = np.zeros((SIDE, SIDE, 3), np.uint8) + np.array([255, 0, 0], np.uint8)
STEPS = (np.arange(64) * 1040).reshape(SIDE, SIDE).astype(np.uint16)  # 0 to 65 520
BACK = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # transpositions that EXIF's undo


def scaled(pixels):
    """(C, H, W) in [−1, 1]."""
    pixels = np.asarray(pixels, np.float32)
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    return torch.from_numpy(pixels.transpose(2, 0, 1) / 127.5 - 1)


def bytes_of(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def rotated(orientation, kind="PNG"):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.stack([HALVES] * 3, -1))
    if orientation in BACK:
        stored = stored.transpose(Image.Transpose(BACK[orientation]))
    return bytes_of(stored, kind, exif=exif, **({"quality": 100} if kind == "JPEG" else {}))


def with_alpha(alpha):
    return Image.fromarray(np.dstack([COLOURS, np.full((SIDE, SIDE), alpha, np.uint8)]))


def marked(image, value):
    """A PNG one of whose values is transparent."""
    return bytes_of(image, transparency=value)


def frames(kind):
    first, second = Image.fromarray(RED), Image.fromarray(RED[..., ::-1].copy())
    options = {"lossless": True} if kind == "WEBP" else {}
    return bytes_of(first, kind, save_all=True, append_images=[second], **options)


def chunk(name, content):
    check = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", check)


def huge():
    """A PNG that says it has 400 million pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 20000, 20000, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def white_is_zero():
    tags = {262: 0}
    return bytes_of(Image.fromarray(65535 - STEPS), "TIFF", tiffinfo=tags)


def text_bomb():
    more = PngImagePlugin.PngInfo()
    more.add_text("note", "x" * 3_000_000, zip=True)
    return bytes_of(Image.fromarray(COLOURS), pnginfo=more)


def blended(alpha, back):
    return (COLOURS.astype(float) * alpha + np.array(back) * (255 - alpha)) / 255


P = Image.fromarray(RED).convert("P", palette=Image.Palette.ADAPTIVE)
SMALL = bytes_of(Image.fromarray(COLOURS))
JPEG = bytes_of(Image.fromarray(np.full((SIDE, SIDE, 3), 128, np.uint8)), "JPEG", quality=100)
WHITE = np.full((SIDE, SIDE, 3), 255)
ABOVE = np.stack([HALVES] * 3, -1)
GREYS = np.round(STEPS / 257)

# name, content, what is shown on an RGB model with fit=True (and how far from it)
SHOWN = [
    ("plain.png", SMALL, COLOURS, 0),
    ("capitals.PNG", SMALL, COLOURS, 0),
    ("wrong-suffix.jpg", SMALL, COLOURS, 0),
    *[(f"exif{k}.png", rotated(k), ABOVE, 0) for k in range(1, 9)],
    ("exif6.jpg", rotated(6, "JPEG"), ABOVE, 3),
    ("exif6.tif", rotated(6, "TIFF"), ABOVE, 0),
    ("exif6.webp", rotated(6, "WEBP"), ABOVE, 60),
    ("exif99.png", rotated(99), ABOVE, 0),
    ("clear.png", bytes_of(with_alpha(0)), WHITE, 0),
    ("half.png", bytes_of(with_alpha(128)), blended(128, [255] * 3), 1.5),
    ("opaque.png", bytes_of(with_alpha(255)), COLOURS, 0),
    ("clear.webp", bytes_of(with_alpha(0), "WEBP", lossless=True), WHITE, 0),
    ("clear.gif", bytes_of(with_alpha(0), "GIF"), WHITE, 0),
    ("clear.tif", bytes_of(with_alpha(0), "TIFF"), WHITE, 0),
    ("grey-alpha.png", bytes_of(with_alpha(0).convert("LA")), WHITE, 0),
    ("key.png", marked(Image.fromarray(RED), (255, 0, 0)), WHITE, 0),
    ("key-grey.png", marked(Image.fromarray(HALVES), 0), WHITE, 0),
    ("key-bit.png", marked(Image.fromarray(HALVES).convert("1"), 0), WHITE, 0),
    ("key16.png", marked(Image.fromarray(STEPS * 0 + 500), 500), WHITE, 0),
    ("key-palette.png", marked(P, bytes([0] * 256)), WHITE, 0),
    ("palette.png", bytes_of(P), RED, 0),
    ("palette.gif", bytes_of(P, "GIF"), RED, 0),
    ("palette.bmp", bytes_of(P, "BMP"), RED, 0),
    ("bit.png", bytes_of(Image.fromarray(HALVES).convert("1")), ABOVE, 0),
    ("grey.png", bytes_of(Image.fromarray(HALVES)), ABOVE, 0),
    ("sixteen.png", bytes_of(Image.fromarray(STEPS)), np.stack([GREYS] * 3, -1), 0),
    ("sixteen.tif", bytes_of(Image.fromarray(STEPS), "TIFF"), np.stack([GREYS] * 3, -1), 0),
    ("inverted16.tif", white_is_zero(), np.stack([GREYS] * 3, -1), 0),
    ("cmyk.jpg", bytes_of(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG"), RED, 6),
    ("cmyk.tif", bytes_of(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "TIFF"), RED, 0),
    ("several.gif", frames("GIF"), RED, 0),
    ("several.png", frames("PNG"), RED, 0),
    ("several.webp", frames("WEBP"), RED, 0),
    ("pages.tif", frames("TIFF"), RED, 0),
    ("wide.png", bytes_of(Image.fromarray(np.hstack([RED, RED[..., ::-1], RED]))), None, 0),
    ("tall.png", bytes_of(Image.new("RGB", (1, 500), "red")), RED, 0),
]
# name, content (None: made by `odd`), what the message says of it
REFUSED = [
    ("empty.png", b"", "cannot identify"),
    ("text.png", b"not a picture", "cannot identify"),
    ("half.jpg", JPEG[: len(JPEG) // 2], ""),
    ("cut.png", SMALL[:60], ""),
    ("head.png", SMALL[:20], ""),
    ("sum.png", SMALL[:45] + b"\0\0" + SMALL[47:], ""),
    ("bomb.png", huge(), "decompression bomb"),
    ("text-bomb.png", text_bomb(), "too large"),
    ("float.tif", bytes_of(Image.fromarray(STEPS.astype(np.float32)), "TIFF"), "32 bits"),
    ("whole.tif", bytes_of(Image.fromarray(STEPS.astype(np.int32)), "TIFF"), "32 bits"),
    ("phone.heic", b"\0\0\0\x18ftypheic" + b"\0" * 40, "cannot identify"),
    ("link.png", None, "broken link"),
    ("pipe.png", None, "no regular file"),
]


def put(folder, name, content):
    path = folder / name
    if name == "link.png":
        path.symlink_to(folder / "nowhere.png")
    elif name == "pipe.png":
        os.mkfifo(path)
    else:
        path.write_bytes(content)
    return path


def test_the_tables_are_long():
    assert len(SHOWN) + len(REFUSED) >= 50
    names = [name for name, *_ in SHOWN + REFUSED]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("name", "content", "expected", "near"), SHOWN, ids=[one[0] for one in SHOWN]
)
def test_pictures_are_read_as_they_are_shown(tmp_path, name, content, expected, near):
    path = put(tmp_path, name, content)
    if expected is None:  # the middle of three squares
        expected = RED[..., ::-1]
    several = name.startswith(("several", "pages"))
    read = []
    for reader in (
        lambda shape: read_image(path, shape, fit=True),
        lambda shape: ImageFolder(tmp_path, shape, fit=True)[torch.tensor([0])][0],
    ):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            read.append(reader(RGB))
        told = [str(one.message) for one in said]
        assert len(told) == several and all(name in one and "first" in one for one in told), told
    assert torch.equal(*read)
    assert float((read[0] - scaled(expected)).abs().max()) * 127.5 <= near + 1e-4
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        grey = read_image(path, GREY, fit=True)
    weights = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
    apart = (grey - (read[0] * weights).sum(0)).abs().max()
    assert float(apart) * 127.5 < 0.6  # rounded


@pytest.mark.parametrize(("name", "content", "says"), REFUSED, ids=[one[0] for one in REFUSED])
def test_pictures_that_cannot_be_read_are_named(tmp_path, name, content, says):
    path = put(tmp_path, name, content)
    with pytest.raises(OSError, match=rf"image '.*{name}' cannot be read \(.*{says}"):
        read_image(path, RGB, fit=True)
    with pytest.raises(ValueError, match=rf"image '.*{name}' cannot be read .*skip_unreadable"):
        ImageFolder(tmp_path, RGB, fit=True, progress=False)
    write_image(tmp_path / "good.png", scaled(COLOURS))
    left = ImageFolder(tmp_path, RGB, fit=True, skip_unreadable=True, progress=False)
    assert left.paths == [tmp_path / "good.png"] and left.skipped == [path]


def test_what_is_hidden_needs_fit(tmp_path):
    """Of the right mode and size, but with transparent parts: not silently something else."""
    hidden = put(tmp_path, "a.png", marked(Image.fromarray(RED), (255, 0, 0)))
    with pytest.raises(ValueError, match=r"a.png' is RGB with transparency of 8×8"):
        read_image(hidden, RGB)
    turned = read_image(put(tmp_path, "t.png", rotated(6)), RGB)
    assert torch.equal(turned, scaled(ABOVE))


def test_backgrounds(tmp_path):
    path = put(tmp_path, "half.png", bytes_of(with_alpha(128)))
    for back, colour in (("black", [0] * 3), ("#ff0000", [255, 0, 0]), ((0, 9, 0), [0, 9, 0])):
        image = read_image(path, RGB, fit=True, background=back)
        away = (image - scaled(blended(128, colour))).abs().max() * 127.5
        assert float(away) < 1.5
        folder = ImageFolder(tmp_path, RGB, fit=True, background=back)
        assert torch.equal(folder[torch.tensor([0])][0], image)
    for back in ("whitish", (1, 2), (0, 0, 300), None, 7):
        with pytest.raises(ValueError, match="background must be a colour such as 'white'"):
            ImageFolder(tmp_path, RGB, fit=True, background=back)


def test_linked_folders_are_followed_once_and_circles_end(tmp_path):
    (tmp_path / "away").mkdir()
    (tmp_path / "in" / "deep").mkdir(parents=True)
    for place in ("away/a.png", "in/b.png", "in/deep/c.png"):
        write_image(tmp_path / place, scaled(COLOURS))
    (tmp_path / "in" / "linked").symlink_to(tmp_path / "away")
    (tmp_path / "in" / "linked-again").symlink_to(tmp_path / "away")
    (tmp_path / "in" / "deep" / "circle").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "folder.png").mkdir()
    found = ImageFolder(tmp_path / "in", RGB)
    names = [str(path.relative_to(tmp_path / "in")) for path in found.paths]
    assert names == ["b.png", "deep/c.png", "linked/a.png"]
    apart = ImageFolder(tmp_path / "in", RGB, without=[tmp_path / "in" / "deep"])
    assert [path.name for path in apart.paths] == ["b.png", "a.png"]


def test_pictures_are_found_by_all_their_names_but_hidden_ones(tmp_path):
    for name in ("a.ppm", "b.TGA", "c.jp2", "d.dib", "e.qoi"):
        Image.fromarray(COLOURS).save(tmp_path / name)
    for hidden in (".ipynb_checkpoints/a-checkpoint.png", "__MACOSX/._a.png"):
        (tmp_path / hidden).parent.mkdir()
        (tmp_path / hidden).write_bytes(b"a preview")
    found = ImageFolder(tmp_path, RGB)
    assert [path.name for path in found.paths] == ["a.ppm", "b.TGA", "c.jp2", "d.dib", "e.qoi"]
    assert torch.equal(found[torch.arange(5)], scaled(COLOURS).expand(5, -1, -1, -1))
    for name in ("f.svg", "f.psd", "f.cr2"):  # not left out and never missed
        (tmp_path / name).write_bytes(b"something else")
        with pytest.raises(ValueError, match=rf"image '.*{name}' cannot be read"):
            ImageFolder(tmp_path, RGB)
        (tmp_path / name).unlink()


def test_damaged_pictures_raise_nothing_without_a_name(tmp_path):
    """Bytes changed and files cut, in 2000 ways: a picture, or a message with its path."""
    rng = np.random.default_rng(1)
    sources = [content for _, content, *_ in SHOWN if content is not SMALL]
    read = refused = 0
    for i in range(2000):
        content = bytearray(sources[i % len(sources)])
        for place in rng.integers(0, len(content), rng.integers(1, 6)):
            content[place] = rng.integers(0, 256)
        if rng.random() < 0.3:
            content = content[: rng.integers(0, len(content))]
        path = tmp_path / f"{i}.png"
        path.write_bytes(content)
        try:
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                image = read_image(path, RGB, fit=True)
            assert image.shape == RGB and image.isfinite().all() and image.abs().max() <= 1
            assert all(path.name in str(one.message) for one in said)
            read += 1
        except OSError as error:
            assert repr(str(path)) in str(error)
            refused += 1
    assert read > 200 and refused > 200, (read, refused)


def test_pictures_are_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "deep" / "a.png"
    write_image(path, scaled(COLOURS))
    before = path.read_bytes()
    bad = [scaled(COLOURS) * float("nan"), scaled(COLOURS)[None], torch.zeros(2, 8, 8)]
    for image in bad:
        with pytest.raises(ValueError, match=r"image must be finite and of shape \(1 or 3"):
            write_image(path, image)
    assert path.read_bytes() == before and len(list(path.parent.iterdir())) == 1


def test_metrics_refuse_bytes_for_pictures():
    images = ul.digits.data().images[:8]
    classifier = ul.digits.load_classifier()
    assert metrics.class_shares(images, classifier).sum() == 1
    for wrong in (images * 127.5 + 127.5, (images * 127.5 + 127.5).to(torch.uint8), images * 255):
        for call in (
            lambda x: metrics.class_shares(x, classifier),
            lambda x: metrics.features(x, classifier),
            lambda x: metrics.similarity(images, x, classifier),
            lambda x: metrics.kernel_distance(images, x, classifier, subset=4),
        ):
            with pytest.raises(ValueError, match=r"images must .*\[−1, 1\].*divide 0 to 255"):
                call(wrong)
    model = ul.digits.load_model("memorised")
    with pytest.raises(ValueError, match=r"x must be images with values in \[−1, 1\]"):
        metrics.reconstruct(model, images[0] * 127.5 + 127.5, 400)
