"""Pipelines of every family, built as the published ones are but small, with random weights."""

import diffusers
import torch

from benchmarks import published

SIDE = 8  # of latents
PIXELS = 8 * SIDE
WIDTH = 32  # of a text encoder


def sdxl():
    """Linear projections, transformers of several layers, size embeddings."""
    torch.manual_seed(2)
    return published.stock(
        diffusers.UNet2DConditionModel(
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
    )


def sd3():
    """Joint attention, with a second one in the first block, as 3.5 has."""
    torch.manual_seed(3)
    return published.stock(
        diffusers.SD3Transformer2DModel(
            sample_size=SIDE,
            patch_size=2,
            in_channels=16,
            num_layers=2,
            attention_head_dim=8,
            num_attention_heads=4,
            caption_projection_dim=32,
            joint_attention_dim=2 * WIDTH,
            pooled_projection_dim=2 * WIDTH,
            out_channels=16,
            pos_embed_max_size=SIDE,
            dual_attention_layers=(0,),
            qk_norm="rms_norm",
        )
    )


def flux(*, guided=True):
    """Joint and single blocks; dev, or schnell."""
    torch.manual_seed(4)
    return published.stock(
        diffusers.FluxTransformer2DModel(
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
    )
