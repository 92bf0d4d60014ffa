"""A short run of the command, as a configuration on disk."""

CONFIG = """
model: {model}
problem: {problem}
retain: a cowboy
forget: [a horse, a cactus]
unrelated: [a tree]
thresholds: 0.5
samples: 2
sample_steps: 3
grid_every: 2
rank: 2
out: {out}
options: {{steps: 4, lr: 0.02, batch: {batch}, accumulation: {accumulation}, primal_steps: 1,
           sampling_steps: 3, evaluate: false, save_every: 2}}
"""


def config(folder, model, *, problem="reverse-kl", accumulation=1, batch=4):
    path = folder / "run.yaml"
    out = folder / "out"
    given = {"problem": problem, "accumulation": accumulation, "batch": batch}
    path.write_text(CONFIG.format(model=model, out=out, **given))
    return path, out


GOOD = """
model: tiny
problem: likelihood
retain: a cowboy
forget: [a horse, a cactus]
relative: 0.2
out: runs/cowboy
options: {steps: 3, batch: 4}
"""


def written(folder, text):
    """A configuration on disk."""
    path = folder / "run.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path
