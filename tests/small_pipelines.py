"""Pipelines of every family, built as the published ones are but small, with random weights."""

import diffusers
import torch
import transformers

from unlearnlab.stable_diffusion import tiny

SIDE = 8  # of latents
WIDTH = 32  # of the text encoders, which have two heads


def clip(tokens, kind, *, layers=2, seed=0, act="quick_gelu"):
    """A CLIP text encoder of transformers' class `kind`."""
    config = transformers.CLIPTextConfig(
        vocab_size=len(tokens),
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=layers,
        num_attention_heads=2,
        max_position_embeddings=tiny.LONGEST,
        projection_dim=WIDTH,
        hidden_act=act,
        bos_token_id=tokens.bos_token_id,
        eos_token_id=tokens.eos_token_id,
        pad_token_id=tokens.pad_token_id,
    )
    torch.manual_seed(seed)
    return getattr(transformers, kind)(config)


def t5():
    """T5's tokenizer and encoder, which know letters and the space."""
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    pieces += [(letter, -3.0) for letter in "abcdefghijklmnopqrstuvwxyz,.'-"]
    tokens = transformers.T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=512)
    config = transformers.T5Config(
        vocab_size=len(tokens),
        d_model=WIDTH,
        d_kv=16,
        d_ff=64,
        num_layers=2,
        num_heads=2,
        feed_forward_proj="gated-gelu",
    )
    torch.manual_seed(5)
    return tokens, transformers.T5EncoderModel(config)


def autoencoder(channels, **more):
    """3 × 32 × 32 to channels × 8 × 8."""
    torch.manual_seed(1)
    return diffusers.AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(8, 8, 16),
        layers_per_block=1,
        latent_channels=channels,
        norm_num_groups=4,
        sample_size=4 * SIDE,
        **more,
    )


def sdxl():
    """Two text encoders, linear projections, transformers of several layers, size embeddings."""
    tokens = tiny.tokenizer()
    torch.manual_seed(2)
    unet = diffusers.UNet2DConditionModel(
        sample_size=SIDE,
        layers_per_block=1,
        block_out_channels=(16, 32),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=[1, 2],
        attention_head_dim=[2, 4],
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + WIDTH,
        cross_attention_dim=2 * WIDTH,
        norm_num_groups=8,
    )
    return diffusers.StableDiffusionXLPipeline(
        vae=autoencoder(4, scaling_factor=0.13025, force_upcast=True),
        text_encoder=clip(tokens, "CLIPTextModel"),
        text_encoder_2=clip(tokens, "CLIPTextModelWithProjection", seed=1, act="gelu"),
        tokenizer=tokens,
        tokenizer_2=tiny.tokenizer(),
        unet=unet,
        scheduler=tiny.scheduler(),
        force_zeros_for_empty_prompt=True,
        add_watermarker=False,
    )


def sd3():
    """Three text encoders and a transformer of joint attention."""
    tokens = tiny.tokenizer()
    tokens_3, encoder_3 = t5()
    torch.manual_seed(3)
    transformer = diffusers.SD3Transformer2DModel(
        sample_size=SIDE,
        patch_size=2,
        in_channels=16,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=4,
        caption_projection_dim=32,
        joint_attention_dim=WIDTH * 2,
        pooled_projection_dim=2 * WIDTH,
        out_channels=16,
        pos_embed_max_size=SIDE,
        dual_attention_layers=(0,),
        qk_norm="rms_norm",
    )
    wide = transformers.T5Config(**encoder_3.config.to_dict() | {"d_model": 2 * WIDTH})
    torch.manual_seed(5)
    return diffusers.StableDiffusion3Pipeline(
        vae=autoencoder(16, scaling_factor=1.5305, shift_factor=0.0609),
        text_encoder=clip(tokens, "CLIPTextModelWithProjection"),
        text_encoder_2=clip(tokens, "CLIPTextModelWithProjection", seed=1, act="gelu"),
        text_encoder_3=transformers.T5EncoderModel(wide),
        tokenizer=tokens,
        tokenizer_2=tiny.tokenizer(),
        tokenizer_3=tokens_3,
        transformer=transformer,
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
    )


def flux(*, guided=True):
    """CLIP and T5, and a transformer of joint and of single blocks; dev, or schnell."""
    tokens = tiny.tokenizer()
    tokens_2, encoder_2 = t5()
    torch.manual_seed(4)
    transformer = diffusers.FluxTransformer2DModel(
        in_channels=64,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=WIDTH,
        pooled_projection_dim=WIDTH,
        guidance_embeds=guided,
        axes_dims_rope=(4, 6, 6),
    )
    shifts = {"use_dynamic_shifting": True, "shift": 3.0, "base_shift": 0.5, "max_shift": 1.15}
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(**shifts if guided else {"shift": 1.0})
    return diffusers.FluxPipeline(
        vae=autoencoder(16, scaling_factor=0.3611, shift_factor=0.1159),
        text_encoder=clip(tokens, "CLIPTextModel"),
        text_encoder_2=encoder_2,
        tokenizer=tokens,
        tokenizer_2=tokens_2,
        transformer=transformer,
        scheduler=scheduler,
    )
