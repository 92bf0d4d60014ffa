"""An untrained pipeline of the tiny one's shape."""

from unlearnlab.stable_diffusion import tiny


def untrained():
    """A stock StableDiffusionPipeline with random weights."""
    from diffusers import StableDiffusionPipeline

    tokens = tiny.tokenizer()
    return StableDiffusionPipeline(
        vae=tiny.autoencoder(0),
        text_encoder=tiny.text_encoder(tokens, 0),
        tokenizer=tokens,
        unet=tiny.unet(0),
        scheduler=tiny.scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
