"""A small DDPM of 8×8 images, and folders of it as diffusers writes them."""

import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

SIDE = 8


def network(seed=0, **options):
    torch.manual_seed(seed)
    given = {
        "sample_size": SIDE,
        "in_channels": 1,
        "out_channels": 1,
        "layers_per_block": 1,
        "block_out_channels": (8, 16),
        "norm_num_groups": 4,
        "down_block_types": ("DownBlock2D",) * 2,
        "up_block_types": ("UpBlock2D",) * 2,
    }
    return UNet2DModel(**given | options)


def saved(folder, scheduler=None, variant=None, **options):
    pipeline = DDPMPipeline(network(**options), scheduler or DDPMScheduler(clip_sample=False))
    pipeline.save_pretrained(folder, variant=variant)
    return folder
