"""Other systems for unlearning in diffusion models, to compare with."""
