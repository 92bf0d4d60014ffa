"""Lesson 17: `%%cuda`, its cells executed on any device, and the numbers that it calculates."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from fake_device import NAME

from unlearnlab.diffusion.model import Effort
from unlearnlab.stable_diffusion import Prompt, tiny
from unlearnlab.stable_diffusion.loading import TINY
from unlearnlab.teaching import EXERCISES, SKIPPED, add_cuda_magic
from unlearnlab.training.draws import Draws
from unlearnlab.training.policy_gradient import PolicyGradient

mpl = pytest.importorskip("matplotlib")
mpl.use("Agg")
ROOT = Path(__file__).parent.parent
LESSON = ROOT / "tutorials" / "solutions" / "17_stable_diffusion_on_a_gpu.ipynb"
CELLS = json.loads(LESSON.read_text())["cells"]
CODE = ["".join(cell["source"]) for cell in CELLS if cell["cell_type"] == "code"]
MAGIC = "%%cuda\n"
# In the place of the lesson's settings: the tiny pipeline, words it knows, and few steps.
SETTINGS = {
    "small": str(TINY),
    "large": str(TINY),
    "others": ["a photo of a tree"],
    "group": "a photo of a ball",
    "members": ["a red ball", "a blue ball", "a green ball"],
    "draw_steps": 2,
    "images": 4,
    "batch": 2,
    "accumulation": 1,
    "sampling_steps": 2,
    "rank": 2,
    "dual_steps": 2,
    "lu_steps": 2,
    "esd_steps": 2,
}
SHELL = """
import torch
from IPython.core.interactiveshell import InteractiveShell

shell = InteractiveShell.instance()
shell.run_cell("from unlearnlab.teaching import add_cuda_magic; add_cuda_magic()")
torch.cuda.is_available = lambda: False
shell.run_cell("%%cuda\\nseen = 1")
print("seen" in shell.user_ns)
torch.cuda.is_available = lambda: True
shell.run_cell("%%cuda\\nfactor = 3\\ndef times(x):\\n    return factor * x")
shell.run_cell("print(times(4))")
failed = shell.run_cell("%%cuda\\nfactor = 5\\nfactor / 0\\nfactor = 6")
print(type(failed.error_in_exec).__name__, shell.user_ns["factor"])
"""


def clip(folder):
    """A CLIP of random weights that reads the tiny pipeline's words."""
    from transformers import CLIPConfig, CLIPModel, CLIPProcessor

    try:
        from transformers.models.clip import CLIPImageProcessorPil as Pictures
    except ImportError:  # other versions call it so
        from transformers import CLIPImageProcessor as Pictures

    tokens = tiny.tokenizer()
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    small["num_attention_heads"] = 2
    text = {"vocab_size": len(tokens), "max_position_embeddings": tiny.LONGEST}
    text |= {name: getattr(tokens, name) for name in ("bos_token_id", "eos_token_id")}
    text["pad_token_id"] = tokens.pad_token_id
    vision = {"image_size": 32, "patch_size": 8}
    torch.manual_seed(0)
    config = CLIPConfig(text_config=small | text, vision_config=small | vision, projection_dim=16)
    CLIPModel(config).save_pretrained(folder)
    sizes = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    reader = CLIPProcessor(image_processor=Pictures(**sizes), tokenizer=tokens)
    reader.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def lesson(tmp_path_factory, device):
    """The lesson's variables after all of its cells ran, on a CPU those for CUDA as well."""
    if device == NAME:
        pytest.skip("safetensors reads memory, and the fake device has none")
    folder, space = tmp_path_factory.mktemp("lesson"), {}
    there = {"device": device} | ({"dtype": torch.float32} if device == "cpu" else {})
    with pytest.MonkeyPatch.context() as patch, mpl.rc_context():
        # Plain Python has no magic, and a machine for computing may have no IPython.
        patch.setattr("unlearnlab.teaching.add_cuda_magic", lambda: None)
        patch.setattr("unlearnlab.plot.show", lambda ax, alt: mpl.pyplot.close("all"))
        if not torch.cuda.is_available():
            patch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: None)
        patch.setattr(Prompt, "effort", Effort(4, 4, 4, 4, pool=(2, 4), training=(2, 4)))
        exec(CODE[0], space)
        exec(CODE[1], space)
        assert set(SETTINGS) | set(there) <= set(space)
        space |= (
            SETTINGS | there | {"clip_name": clip(folder / "clip"), "folder": str(folder / "runs")}
        )
        for source in CODE[2:]:
            if "def counted" not in source:  # that one below, at the lesson's own effort
                exec(source.removeprefix(MAGIC), space)
    return space


@pytest.mark.device
def test_cells_for_cuda_run(lesson, device):
    assert sum(source.startswith(MAGIC) for source in CODE) >= 7
    assert lesson["lu"].student.device.type == torch.device(device).type
    assert lesson["lu"].status != "diverged" and lesson["lu"].multipliers[0] > 0
    assert lesson["tau"] == 256 and lesson["ratios"].shape == (4,)
    assert lesson["esd"].student is not lesson["lu"].student
    assert 0 <= lesson["horse_share"](lesson["before"][lesson["both"]]) <= 1
    assert (Path(lesson["folder"]) / "lora" / "pytorch_lora_weights.safetensors").exists()


@pytest.mark.device
def test_the_scale_of_the_saved_student_matters(lesson):
    none, half, whole = lesson["rows"].values()
    assert 0 < float((half - none).abs().mean()) < float((whole - none).abs().mean())


@pytest.mark.device
def test_rows_of_a_step(lesson):
    """By the lesson's hook, and by its table."""
    (source,) = [one for one in CODE if "def counted" in one]
    exec(source, lesson)
    found = lesson["counted"](1, batch=2, sampling_steps=3, accumulation=2)
    assert found == {"with gradients": 2 * 2 * 2, "without": 2 * (2 * 5 + 2 * 6 * 4 * 2)}
    large = lesson["counted"](2, batch=4, sampling_steps=20)
    assert 4 * sum(large.values()) == EXERCISES["17.2"].expected


@pytest.mark.device
def test_tensors_kept_of_a_chain(lesson, device):
    """11 latents and 10 predictions, at the tiny pipeline's 256 numbers in place of 16 384."""
    goal = PolicyGradient([lesson["problem"]], 4, sampling_steps=10)
    chain = list(
        goal.chain(lesson["sd"].lora(2), Draws([0], 0, like=torch.empty(0, device=device)))
    )
    kept = {x.data_ptr(): x.nbytes for one in chain for x in (one.x_t, one.retained, one.x_s)}
    assert len(kept) == 21
    assert sum(kept.values()) * 16384 / 256 / 2**20 == EXERCISES["17.3"].expected


def test_parameters_are_those_of_the_published_configurations(lesson):
    from diffusers import UNet2DConditionModel

    sys.path.insert(0, str(ROOT))
    try:
        from benchmarks.published import UNETS
    finally:
        sys.path.remove(str(ROOT))
    for name, counted in zip(lesson["names"], lesson["millions"]["UNet"], strict=True):
        with torch.device("meta"):
            unet = UNet2DConditionModel(**UNETS[name])
        assert sum(p.numel() for p in unet.parameters()) == pytest.approx(counted * 1e6, rel=1e-3)
        crossed = [
            layer.in_features + layer.out_features
            for part, layer in unet.named_modules()
            if "attn2" in part and isinstance(layer, torch.nn.Linear)
        ]
        in_text = {"Stable Diffusion v1.4": 0.80, "bk-sdm-tiny": 0.43}[name]
        assert 8 * sum(crossed) / 1e6 == pytest.approx(in_text, abs=0.005)


def test_cuda_magic_skips_runs_and_raises(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", SHELL],
        cwd=ROOT,
        env=os.environ | {"IPYTHONDIR": str(tmp_path), "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[:3] == [SKIPPED, "False", "12"]
    assert lines[-1] == "ZeroDivisionError 5"
    assert any("factor / 0" in line for line in lines)  # the traceback shows the cell's own line


def test_cuda_magic_leaves_plain_python_alone():
    assert add_cuda_magic() is None
