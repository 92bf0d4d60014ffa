"""A seeded family of random unlearning problems, from inactive to aggressive thresholds."""

from collections.abc import Iterator

import numpy as np

import unlearnlab as ul

GRID = ul.Grid(-10.0, 10.0, 2001)
KINDS = {"RU": ul.ReverseKL, "FU": ul.ForwardKL, "LU": ul.Likelihood}


def mixture(rng: np.random.Generator, most: int) -> ul.GaussianMixture:
    """A random mixture of 1 to `most` Gaussians whose mass fits the grid."""
    k = int(rng.integers(1, most + 1))
    return ul.GaussianMixture(
        rng.dirichlet(np.full(k, 2.0)), rng.uniform(-4, 4, k), rng.uniform(0.3, 1.2, k)
    )


def problem(kind: str, seed: int, *, cells: int = 2001) -> ul.Problem:
    """Problem `seed` of its kind: forget m = 1..5 random mixtures, one in three a mode of q."""
    rng = np.random.default_rng([seed, ["RU", "FU", "LU"].index(kind)])
    grid = ul.Grid(-10.0, 10.0, cells)
    q = mixture(rng, 4)
    forget = []
    for _ in range(1 + seed % 5):
        if rng.random() < 1 / 3:
            mode = int(rng.integers(len(q.weights)))
            width = np.sqrt(q.covariances[mode, 0, 0])
            forget.append(ul.GaussianMixture([1.0], q.means[mode], [width]))
        else:
            forget.append(mixture(rng, 3))
    densities = [mix.on(grid) for mix in (q, *forget)]
    # One mode that is all of q makes q_i = q: legal only with a threshold of zero.
    equal = [np.abs(d.log_masses - densities[0].log_masses).max() < 1e-12 for d in densities[1:]]
    if kind == "LU":
        relative = np.exp(rng.uniform(np.log(1e-4), np.log(1.5), len(forget)))
        statistic = "density" if rng.random() < 0.5 else "ratio"
        return ul.Likelihood(densities[0], densities[1:], relative=relative, statistic=statistic)
    base = np.array(
        [ul.kl(d, densities[0]) if kind == "FU" else ul.kl(densities[0], d) for d in densities[1:]]
    )
    if kind == "FU":
        thresholds = base * rng.uniform(0.8, 1.5, len(base)) + rng.uniform(0, 12, len(base))
    else:
        thresholds = base * np.exp(rng.uniform(np.log(0.8), np.log(4), len(base)))
    return KINDS[kind](densities[0], densities[1:], np.where(equal, 0.0, thresholds))


def problems(kind: str, count: int) -> Iterator[tuple[int, ul.Problem]]:
    """The first `count` problems of a kind with their seeds."""
    for seed in range(count):
        yield seed, problem(kind, seed)
