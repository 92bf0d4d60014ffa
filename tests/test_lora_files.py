"""LoRA files of others, and students written for others: the same pictures on both sides."""

import json

import pytest
import torch
from diffusers import StableDiffusionPipeline
from peft import LoraConfig, get_peft_model_state_dict
from safetensors.torch import load_file, save_file

import unlearnlab as ul
from unlearnlab.stable_diffusion.tiny import untrained

X = torch.randn((2, 4, 8, 8), generator=torch.Generator().manual_seed(0))
T = torch.tensor([10, 500])
ATTENTION = "down_blocks_1_attentions_0_transformer_blocks_0"


def predicted(pipeline):
    """By the pipeline's own text encoder and UNet, without the package."""
    tokens = pipeline.tokenizer("a cowboy", padding="max_length", return_tensors="pt").input_ids
    with torch.no_grad():
        states = pipeline.text_encoder(tokens)[0].expand(2, -1, -1)
        return pipeline.unet(X, T, encoder_hidden_states=states).sample


def of(student):
    with torch.no_grad():
        return student.noise_prediction(X, T)


BASE = predicted(untrained())


def close(one, other):
    """To a thousandth of the change."""
    assert float((other - BASE).norm()) > 0.005 * float(BASE.norm())
    assert float((one - other).norm()) < 1e-3 * float((other - BASE).norm())


def random_(network, seed=0):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in network.named_parameters():
            if "lora_B" in name:
                p.copy_(0.1 * torch.randn(p.shape, generator=generator))


def trained(alpha=16, encoder=False):
    """A stock pipeline with a LoRA, as diffusers' scripts make it."""
    pipeline = untrained()
    config = LoraConfig(r=4, lora_alpha=alpha, target_modules=["to_q", "to_v", "to_out.0"])
    pipeline.unet.add_adapter(config)
    random_(pipeline.unet)
    own = None
    if encoder:
        own = LoraConfig(r=2, lora_alpha=alpha, target_modules=["q_proj", "out_proj"])
        pipeline.text_encoder.add_adapter(own)
        random_(pipeline.text_encoder)
    return pipeline, config, own


def saved(folder, pipeline, config, own):
    layers = {"unet_lora_layers": get_peft_model_state_dict(pipeline.unet)}
    layers["unet_lora_adapter_metadata"] = config.to_dict()
    if own is not None:
        layers["text_encoder_lora_layers"] = get_peft_model_state_dict(pipeline.text_encoder)
        layers["text_encoder_lora_adapter_metadata"] = own.to_dict()
    StableDiffusionPipeline.save_lora_weights(folder, **layers)
    return folder


@pytest.mark.parametrize("alpha", [1, 4, 16])
@pytest.mark.parametrize("encoder", [False, True])
def test_an_alpha_that_is_not_the_rank_and_a_text_encoder_are_applied(tmp_path, alpha, encoder):
    pipeline, *configs = trained(alpha, encoder)
    saved(tmp_path, pipeline, *configs)
    sd = ul.TextToImage(untrained())
    close(of(sd.load_lora(tmp_path, text="a cowboy")), predicted(pipeline))
    close(
        of(sd.load_lora(tmp_path / "pytorch_lora_weights.safetensors", text="a cowboy")),
        predicted(pipeline),
    )
    assert torch.equal(of(sd.prompt("a cowboy")), BASE)  # the source is as before


def kohya(folder, *, te):
    """A file as kohya's scripts write it, every layer with an α and a rank of its own."""
    modules = {
        f"lora_unet_{ATTENTION}_attn2_to_q": (2, 1.0),
        f"lora_unet_{ATTENTION}_attn2_to_k": (4, 8.0),
        f"lora_unet_{ATTENTION}_attn1_to_out_0": (3, 6.0),
        f"lora_unet_{ATTENTION}_ff_net_2": (2, 0.5),
        f"{te}_text_model_encoder_layers_0_self_attn_v_proj": (2, 3.0),
        f"{te}_text_model_encoder_layers_0_self_attn_out_proj": (2, 1.0),
        f"{te}_text_model_encoder_layers_1_mlp_fc1": (4, 2.0),
    }
    pipeline, tensors, changes = untrained(), {}, {}
    generator = torch.Generator().manual_seed(3)
    networks = {"lora_unet": pipeline.unet, te: pipeline.text_encoder}
    for name, (rank, alpha) in modules.items():
        prefix = "lora_unet" if name.startswith("lora_unet") else te
        plain = name.removeprefix(f"{prefix}_").removeprefix("text_model_")
        layer = next(
            layer
            for path, layer in networks[prefix].named_modules()
            if path.removeprefix("text_model.").replace(".", "_") == plain
        )
        out, taken = layer.weight.shape
        down = torch.randn(rank, taken, generator=generator) / taken**0.5
        up = torch.randn(out, rank, generator=generator)
        tensors |= {
            f"{name}.lora_down.weight": down,
            f"{name}.lora_up.weight": up,
            f"{name}.alpha": torch.tensor(alpha),
        }
        changes[layer] = alpha / rank * up @ down
    for layer, change in changes.items():
        layer.weight.data += change
    save_file(tensors, folder / "kohya.safetensors", {"ss_network_module": "networks.lora"})
    return pipeline


@pytest.mark.parametrize("te", ["lora_te", "lora_te1"])
def test_kohyas_format_with_an_alpha_and_a_rank_of_each_layer(tmp_path, te):
    merged = kohya(tmp_path, te=te)
    student = ul.TextToImage(untrained()).load_lora(tmp_path, text="a cowboy")
    close(of(student), predicted(merged))
    student.scale(0.5)
    student.scale(1.0)  # of the file's own α
    close(of(student), predicted(merged))
    student.save(tmp_path / "again", "kohya")
    theirs, ours = (
        load_file(next(f.glob("*.safetensors"))) for f in (tmp_path, tmp_path / "again")
    )
    assert {name.replace(f"{te}_", "lora_te_") for name in theirs} == set(ours)
    for form in ("diffusers", "kohya"):  # and again as others read it
        student.save(tmp_path / form, form)
        stock = untrained()
        stock.load_lora_weights(tmp_path / form)
        close(predicted(stock), predicted(merged))


def test_a_student_with_a_text_encoder_is_trained_further(tmp_path):
    pipeline, *configs = trained(16, True)
    saved(tmp_path / "theirs", pipeline, *configs)
    sd = ul.TextToImage(untrained())
    student = sd.load_lora(tmp_path / "theirs")
    problem = ul.ReverseKL(sd.prompt("a cowboy"), [sd.prompt("a horse")], [1.0])
    how = {"steps": 2, "batch": 2, "sampling_steps": 2, "evaluate": False, "progress": False}
    run = ul.finetune(problem, student, lr=1e-2, **how)
    start = predicted(pipeline)
    assert float((of(run.student) - start).norm()) > 1e-3 * float(start.norm())
    run.student.save(tmp_path / "ours")
    stock = untrained()
    stock.load_lora_weights(tmp_path / "ours")
    close(predicted(stock), of(run.student))


def test_files_without_the_names_of_parts(tmp_path):
    sd = ul.TextToImage(untrained())
    pipeline, *_ = trained(4)
    save_file(get_peft_model_state_dict(pipeline.unet), tmp_path / "bare.safetensors")
    close(of(sd.load_lora(tmp_path, text="a cowboy")), predicted(pipeline))
    pipeline, *_ = trained(16)
    pipeline.unet.save_lora_adapter(tmp_path / "own")  # says its α
    close(of(sd.load_lora(tmp_path / "own", text="a cowboy")), predicted(pipeline))


def spoilt(folder, change):
    pipeline, *configs = trained(4, True)
    path = saved(folder, pipeline, *configs) / "pytorch_lora_weights.safetensors"
    save_file(dict(change(load_file(path))), path)


def renamed(old, new):
    return lambda tensors: {key.replace(old, new): value for key, value in tensors.items()}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (renamed("attn2", "attn3"), "of 24 tensors for its unet|network"),
        (renamed("encoder.layers.1", "encoder.layers.7"), "for its text_encoder"),
        (renamed("text_encoder.", "text_encoder_2."), "nothing to apply text_encoder_2"),
        (renamed("unet.", "transformer."), "nothing to apply transformer"),
        (renamed("lora", "loha"), "network"),
        (renamed("unet.", "base_model.model."), "peft's own format"),
        (lambda tensors: tensors | {"unet.a.dora_scale": torch.ones(2)}, "DoRA"),
        (lambda tensors: {k: v for k, v in tensors.items() if "unet" not in k}, "changes nothing"),
        (lambda tensors: dict(list(tensors.items())[1:]), "tensors for its|network"),
        (lambda tensors: {k: v[..., :1].clone() for k, v in tensors.items()}, "network"),
        (lambda tensors: tensors | {"unet.conv_in.alpha": torch.ones(())}, "belongs to no layer"),
        (lambda tensors: {"x": torch.ones(1)}, "network"),
        (lambda tensors: {k: v / 0 for k, v in tensors.items()}, "is not finite"),
    ],
)
def test_files_that_cannot_be_applied_whole_are_refused(tmp_path, change, message):
    spoilt(tmp_path, change)
    sd = ul.TextToImage(untrained())
    with pytest.raises(ValueError, match=message) as caught:
        sd.load_lora(tmp_path, text="a cowboy")
    assert "pytorch_lora_weights.safetensors" in str(caught.value)
    assert torch.equal(of(sd.prompt("a cowboy")), BASE) and not hasattr(
        sd.pipeline.unet, "peft_config"
    )


def test_no_file_and_no_tensors(tmp_path):
    sd = ul.TextToImage(untrained())
    with pytest.raises(FileNotFoundError, match=r"and no .safetensors at all"):
        sd.load_lora(tmp_path)
    for name in ("a", "b"):
        (tmp_path / f"{name}.safetensors").write_bytes(b"cut off")
    with pytest.raises(FileNotFoundError, match=r"a.safetensors, b.safetensors: give the path"):
        sd.load_lora(tmp_path)
    with pytest.raises(ValueError, match=r"a.safetensors"):
        sd.load_lora(tmp_path / "a.safetensors")
    with pytest.raises(FileNotFoundError, match=r"no LoRA at '.*c.safetensors': there is no such"):
        sd.load_lora(tmp_path / "c.safetensors")


@pytest.mark.filterwarnings("ignore:Adapter .default.:UserWarning")  # of saving it
def test_biases_are_refused_before_training(tmp_path):
    """peft can train them, and no file format of a student can hold them."""
    pipeline = untrained()
    config = LoraConfig(r=4, lora_alpha=4, target_modules=["to_out.0"], lora_bias=True)
    pipeline.unet.add_adapter(config)
    saved(tmp_path, pipeline, config, None)
    with pytest.raises(ValueError, match=r"it has biases.*lora_B.*bias"):
        ul.TextToImage(untrained()).load_lora(tmp_path)


def test_targets_that_no_layer_has_are_named():
    sd = ul.TextToImage(untrained())
    with pytest.raises(ValueError, match=r"such as to_q, .*; none ends in 'to_z'"):
        sd.lora(layers=("to_q", "to_z"))
    with pytest.raises(ValueError, match="none ends in nothing"):
        sd.lora(layers=())
    one, other = (sd.lora(layers=given) for given in ("attn2.to_out.0", ["attn2.to_out.0"]))
    names = [[name for name, _ in student.net.named_parameters()] for student in (one, other)]
    assert names[0] == names[1] and sum("lora_A" in name for name in names[0]) == 4


@pytest.fixture
def student():
    made = ul.TextToImage(untrained()).lora(rank=4, text="a cowboy")
    random_(made.net)
    return made


@pytest.mark.parametrize("factor", [1.0, 0.5])
def test_a_student_is_the_same_in_every_format(tmp_path, student, factor):
    student.scale(factor)
    shown = of(student)
    for form in ("diffusers", "kohya"):
        student.save(tmp_path / form, format=form)
        stock = untrained()
        stock.load_lora_weights(tmp_path / form)
        close(predicted(stock), shown)
        again = ul.TextToImage(untrained()).load_lora(tmp_path / form, text="a cowboy")
        close(of(again), shown)
    student.save(tmp_path / "merged", format="merged")
    stock = StableDiffusionPipeline.from_pretrained(tmp_path / "merged")
    close(predicted(stock), shown)
    assert not any("lora" in name for name, _ in stock.unet.named_parameters())
    assert torch.equal(of(student), shown)  # merging left the student alone
    assert torch.equal(of(student.source.prompt("a cowboy")), BASE)
    assert json.loads((tmp_path / "merged" / "model_index.json").read_text())["unet"]


def test_names_of_kohyas_format_are_those_of_its_scripts(tmp_path, student):
    student.save(tmp_path, format="kohya")
    tensors = load_file(tmp_path / "lora_kohya.safetensors")
    name = f"lora_unet_{ATTENTION}_attn2_to_out_0"
    assert {f"{name}.lora_down.weight", f"{name}.lora_up.weight", f"{name}.alpha"} <= set(tensors)
    assert float(tensors[f"{name}.alpha"]) == 4 == len(tensors[f"{name}.lora_down.weight"])


def test_what_is_not_written(tmp_path, student, monkeypatch):
    with pytest.raises(ValueError, match="format must be one of diffusers, kohya, merged"):
        student.save(tmp_path, format="a1111")
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match="already holds something; nothing was overwritten"):
        student.save(tmp_path, format="merged")

    def fails(self, folder, **how):
        (folder / "model_index.json").write_text("{")
        raise OSError("disk full")

    monkeypatch.setattr(StableDiffusionPipeline, "save_pretrained", fails)
    with pytest.raises(OSError, match="disk full"):
        student.save(tmp_path / "merged", format="merged")
    assert not list((tmp_path / "merged").iterdir())


def test_a_pipelines_own_adapter_stays_active_and_frozen(tmp_path):
    pipeline, *_ = trained(16, True)
    theirs = predicted(pipeline)
    sd = ul.TextToImage(pipeline)
    student = sd.lora(rank=2, text="a cowboy")
    assert torch.equal(of(student), theirs)  # it begins as the pipeline, adapter and all
    pupil = student.for_training()
    names = [name for name, p in pupil.named_parameters() if p.requires_grad]
    assert names and all(f".{student.adapter}." in name for name in names)
    assert student.adapter != "default"
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, p in pupil.named_parameters():
            if "lora_B" in name and p.requires_grad:
                p.copy_(0.3 * torch.randn(p.shape, generator=generator))
    both = of(pupil)
    assert float((both - theirs).norm()) > 0.02 * float(theirs.norm())
    pupil.scale(0.0)
    assert float((of(pupil) - theirs).norm()) < 1e-5 * float(theirs.norm())
    pupil.scale(1.0)
    pupil.save(tmp_path / "own")  # its own change alone
    again = sd.load_lora(tmp_path / "own", text="a cowboy")
    close(of(again), both)
    pupil.save(tmp_path / "merged", format="merged")  # and everything
    close(predicted(StableDiffusionPipeline.from_pretrained(tmp_path / "merged")), both)
    assert torch.equal(predicted(pipeline), theirs)


def test_a_student_of_a_student(tmp_path, student):
    first = of(student)
    second = ul.TextToImage(student.pipeline).lora(rank=2, text="a cowboy")
    assert second.adapter != student.adapter
    assert torch.equal(of(second), first)


def test_adapters_that_would_hide_a_student_are_refused():
    pipeline, *_ = trained()
    pipeline.unet.fuse_lora()
    with pytest.raises(ValueError, match=r"are fused into .*: call unload_lora_weights"):
        ul.TextToImage(pipeline).lora()
    pipeline.unet.unfuse_lora()
    pipeline.unet.disable_lora()
    with pytest.raises(ValueError, match=r"are switched off: call enable_lora"):
        ul.TextToImage(pipeline).lora()
