"""An untrained pipeline of the tiny one's shape."""

from unlearnlab.stable_diffusion import tiny


def untrained():
    """A stock StableDiffusionPipeline with random weights."""
    tokens = tiny.tokenizer()
    return tiny.assembled(tiny.autoencoder(0), tokens, tiny.text_encoder(tokens, 0), tiny.unet(0))
