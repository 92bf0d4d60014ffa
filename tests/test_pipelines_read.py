"""Pipelines as others left them: textual inversions, safety checkers, what is in memory."""

import itertools
import json
import math
import shutil
import string

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers.pre_tokenizers import ByteLevel

import unlearnlab as ul
from unlearnlab.stable_diffusion import tiny
from unlearnlab.stable_diffusion.tiny import untrained


def open_vocabulary():
    """A pipeline whose tokenizer reads any text, by bytes and pairs of letters."""
    from transformers import CLIPTokenizer

    pairs = list(itertools.product(string.ascii_lowercase, repeat=2))
    letters = sorted(ByteLevel.alphabet())
    pieces = [*letters, *(f"{one}</w>" for one in letters), *(a + b for a, b in pairs)]
    pieces += [*(f"{a}{b}</w>" for a, b in pairs), tiny.START, tiny.END]
    merges = [*pairs, *((a, f"{b}</w>") for a, b in pairs)]
    numbers = {piece: i for i, piece in enumerate(dict.fromkeys(pieces))}
    tokens = CLIPTokenizer(vocab=numbers, merges=merges, model_max_length=30)
    text = tiny.text_encoder(tokens, 0, longest=30)
    return tiny.assembled(tiny.autoencoder(0), tokens, text, tiny.unet(0))


@pytest.fixture(params=["open", "closed"])
def pipeline(request):
    return open_vocabulary() if request.param == "open" else untrained()


def inverted(pipeline, vectors, token="<cat>"):
    width = pipeline.text_encoder.get_input_embeddings().weight.shape[1]
    drawn = torch.randn(vectors, width, generator=torch.Generator().manual_seed(1))
    pipeline.load_textual_inversion({token: drawn}, token=token)


@pytest.mark.parametrize("vectors", [1, 3])
def test_a_textual_inversion_is_read_whole(pipeline, vectors):
    sd = ul.TextToImage(pipeline)
    inverted(pipeline, vectors)
    stock, _ = pipeline.encode_prompt("a <cat> at night", torch.device("cpu"), 1, False)
    states = sd.states("a <cat> at night")["states"]
    assert torch.equal(states, stock)
    assert not torch.equal(states, sd.states("a at night")["states"])
    assert sd.prompt("a <cat> at night").text == "a <cat> at night"


def test_an_inversion_that_comes_later_is_seen():
    pipeline = open_vocabulary()
    sd = ul.TextToImage(pipeline)
    before = sd.states("a <cat>")["states"]  # as letters
    inverted(pipeline, 2)
    stock, _ = pipeline.encode_prompt("a <cat>", torch.device("cpu"), 1, False)
    assert torch.equal(sd.states("a <cat>")["states"], stock)
    assert not torch.equal(sd.states("a <cat>")["states"], before)


def test_an_inversion_counts_by_its_vectors(pipeline):
    inverted(pipeline, 28)
    with pytest.raises(ValueError, match="prompt 'a <cat>' has 29 tokens, and the text encoder"):
        ul.TextToImage(pipeline).prompt("a <cat>")


def test_words_that_are_still_unknown():
    pipeline = untrained()
    inverted(pipeline, 2)
    with pytest.raises(ValueError, match="never seen: zebra; it knows"):
        ul.TextToImage(pipeline).prompt("a <cat> zebra")


class Checker(torch.nn.Module):
    """Flags every second picture, as stock checkers do: in its place there are zeros."""

    device = torch.device("cpu")
    dtype = torch.float32

    def forward(self, clip_input, images):
        flags = [i % 2 == 1 for i in range(len(images))]
        for i, flag in enumerate(flags):
            if flag:
                images[i] = torch.zeros_like(images[i])
        return images, flags


def guarded(pipeline):
    """With a checker, and a list of what it is shown."""
    from transformers import CLIPImageProcessor

    seen = []

    class Eyes(CLIPImageProcessor):
        def __call__(self, images, **how):
            seen.extend(np.asarray(one) for one in images)
            return super().__call__(images, **how)

    pipeline.safety_checker, pipeline.feature_extractor = Checker(), Eyes()
    return seen


def test_a_safety_checker_sees_what_is_shown_and_its_flags_are_counted():
    sd = ul.TextToImage(untrained())
    latents = 3 * torch.randn((4, *sd.shape), generator=torch.Generator().manual_seed(0))
    plain, none = sd.checked(latents)
    assert none == 0
    seen = guarded(sd.pipeline)
    checked, flags = sd.checked(latents)
    assert flags == 2 and torch.equal(checked, sd.decode(latents))
    assert torch.equal(checked[::2], plain[::2]) and bool((checked[1::2] == -1).all())
    shown = torch.from_numpy(np.stack(seen[:4])).permute(0, 3, 1, 2) / 127.5 - 1
    assert float((shown - plain).abs().max()) <= 1 / 127.5
    # The stock pipeline shows black in their place too.
    stock = sd.pipeline("a cowboy", num_inference_steps=2, num_images_per_prompt=2).images
    assert np.asarray(stock[1]).max() == 0 and np.asarray(stock[0]).max() > 0


def test_a_safety_checker_can_be_asked_for(tmp_path):
    untrained().save_pretrained(tmp_path)
    assert ul.TextToImage.from_pretrained(tmp_path).pipeline.safety_checker is None
    assert ul.TextToImage.from_pretrained(tmp_path, safety=False).pipeline.safety_checker is None
    with pytest.raises(ValueError, match="has no safety checker, and safety is on"):
        ul.TextToImage.from_pretrained(tmp_path, safety=True)


@pytest.fixture(scope="module")
def with_checker(tmp_path_factory):
    """A folder whose pipeline has the stock checker, small and random."""
    from diffusers.pipelines.stable_diffusion import StableDiffusionSafetyChecker
    from transformers import CLIPConfig, CLIPImageProcessor

    small = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
    small["num_attention_heads"] = 2
    vision = {"image_size": 32, "patch_size": 16, "projection_dim": 4}
    config = CLIPConfig(text_config=small, vision_config=small | vision, projection_dim=4)
    made = untrained()
    made.register_modules(
        safety_checker=StableDiffusionSafetyChecker(config),
        feature_extractor=CLIPImageProcessor(
            size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
        ),
    )
    made.register_to_config(requires_safety_checker=True)
    path = tmp_path_factory.mktemp("checked")
    made.save_pretrained(path)
    return path


@pytest.mark.parametrize(("safety", "there"), [(None, True), (True, True), (False, False)])
def test_a_safety_checker_is_switched(with_checker, safety, there):
    sd = ul.TextToImage.from_pretrained(with_checker, safety=safety)
    assert (sd.pipeline.safety_checker is not None) == there
    images, flags = sd.checked(torch.zeros((2, *sd.shape)))
    assert images.shape == (2, 3, 32, 32) and 0 <= flags <= (2 if there else 0)


def test_the_only_variant_of_a_folder_needs_no_name(tmp_path):
    """One saved as fp16 alone is read as it is; with another beside it, it is asked for."""
    plain = untrained()
    plain.save_pretrained(tmp_path, variant="fp16")
    own = ul.TextToImage.from_pretrained(tmp_path).pipeline.unet.state_dict()
    assert all(torch.equal(own[name], value) for name, value in plain.unet.state_dict().items())
    plain.save_pretrained(tmp_path, variant="ema")
    with pytest.raises(ValueError, match=r"variant must be one of those in .*'ema', 'fp16'.*None"):
        ul.TextToImage.from_pretrained(tmp_path)
    ul.TextToImage.from_pretrained(tmp_path, variant="ema")


# What a folder stores is what is read


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("stored")
    untrained().save_pretrained(path)
    return path


def weights(part, change):
    """A change of a part's tensors."""

    def make(folder):
        (path,) = (folder / part).glob("*.safetensors")
        tensors = load_file(path)
        save_file(dict(change(tensors)), path, {"format": "pt"})

    return make


def field(path, **fields):
    def make(folder):
        place = folder / path
        place.write_text(json.dumps(json.loads(place.read_text()) | fields))

    return make


def without(end):
    return lambda tensors: {k: v for k, v in tensors.items() if not k.endswith(end)}


def spoilt(end):
    return lambda tensors: {k: v * math.nan if k.endswith(end) else v for k, v in tensors.items()}


def cut(path):
    return lambda folder: (folder / path).write_bytes((folder / path).read_bytes()[:5000])


PLAN, INDEX = "scheduler/scheduler_config.json", "model_index.json"
DAMAGED = {
    "words lost": (lambda f: (f / "tokenizer/tokenizer.json").unlink(), "lacks tokenizer.json, or"),
    "text lost": (weights("text_encoder", without("q_proj.weight")), "text_encoder are not those"),
    "unet lost": (weights("unet", without("conv_in.weight")), "unet are not those"),
    "unet more": (weights("unet", lambda t: t | {"a.b": torch.ones(2)}), "unexpected .* 'a.b'"),
    "fewer layers": (field("text_encoder/config.json", num_hidden_layers=1), "16 unexpected keys"),
    "text NaN": (weights("text_encoder", spoilt("q_proj.bias")), "text_encoder are not finite"),
    "vae NaN": (weights("vae", spoilt("decoder.conv_in.bias")), "vae are not finite"),
    "text cut": (cut("text_encoder/model.safetensors"), "text_encoder cannot be read"),
    "no scale": (field("vae/config.json", scaling_factor=None), "scaling_factor must be a number"),
    "scale 0": (field("vae/config.json", scaling_factor=0), "scaling_factor must be positive"),
    "no size": (field("unet/config.json", sample_size=None), "sample_size null"),
    "no groups": (field("unet/config.json", norm_num_groups=0), "unet cannot be read"),
    "plan": (field(PLAN, beta_schedule="x"), "cannot be read .NotImplementedError: x"),
    "thresholds": (field(PLAN, thresholding=True), "thresholding true"),
    "consistency": (field(INDEX, scheduler=["diffusers", "LCMScheduler"]), "a consistency model"),
    "small vae": (field(INDEX, vae=["diffusers", "AutoencoderTiny"]), "got 'AutoencoderTiny'"),
    "index": (lambda f: (f / INDEX).write_text("[]"), "must hold a JSON object"),
    "length": (lambda f: (f / "tokenizer/tokenizer_config.json").unlink(), "model_max_length is"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_pipelines_that_are_not_whole_are_refused_by_name(folder, tmp_path, name):
    """The libraries would draw random numbers for what is missing, or know no words."""
    make, says = DAMAGED[name]
    shutil.copytree(folder, tmp_path / "p")
    make(tmp_path / "p")
    with pytest.raises(ValueError, match=says) as told:
        ul.TextToImage.from_pretrained(tmp_path / "p")
    assert str(tmp_path / "p") in str(told.value)


def test_names_of_older_files_are_read(folder, tmp_path):
    """Stable Diffusion 1.4 has an autoencoder with names of before, and stores 0, 1, 2, ..."""
    shutil.copytree(folder, tmp_path / "p")
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}

    def renamed(tensors):
        for key, value in tensors.items():
            found = next((new for new in old if f"mid_block.attentions.0.{new}." in key), "to_q")
            yield key.replace(found, old[found]), value

    weights("vae", renamed)(tmp_path / "p")
    numbers = {"text_model.embeddings.position_ids": torch.arange(24)[None]}
    weights("text_encoder", lambda tensors: tensors | numbers)(tmp_path / "p")
    one, two = (ul.TextToImage.from_pretrained(f) for f in (folder, tmp_path / "p"))
    latents = torch.randn(1, *one.shape)
    assert torch.equal(one.decode(latents), two.decode(latents))
    assert torch.equal(one.states("a cowboy")["states"], two.states("a cowboy")["states"])
