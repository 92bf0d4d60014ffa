"""Path measures of a noising chain: the chain rule, and which targets still noise by its kernel."""

import numpy as np
import pytest

import unlearnlab as ul

GRID = ul.Grid(-5, 5, 64)
CHAIN = ul.NoisingChain(GRID)


def three_modes(widths=(0.6, 0.6)):
    q = ul.GaussianMixture([0.4, 0.35, 0.25], [-2.5, 0, 2.5], [0.6] * 3).on(GRID)
    forget = [
        ul.GaussianMixture([1], [mean], [width]).on(GRID)
        for mean, width in zip((0, 2.5), widths, strict=True)
    ]
    return q, forget


def make(kind, relative, widths=(0.6, 0.6), **options):
    q, forget = three_modes(widths)
    on_paths = kind(
        CHAIN.paths(q), [CHAIN.paths(one) for one in forget], relative=relative, **options
    )
    return on_paths, kind(q, forget, relative=relative, **options)


def conditional(paths):
    """P(x₁|x₀) and P(x₂|x₁) by plain sums, where the condition has mass."""
    table = paths.probabilities.reshape(64, 64, 64)
    pairs = table.sum(axis=2), table.sum(axis=0)
    return [pair / np.maximum(pair.sum(axis=1, keepdims=True), 1e-300) for pair in pairs]


def test_the_chain_noises_and_its_divergences_follow_the_chain_rule():
    q, (q1, _) = three_modes()
    paths = CHAIN.paths(q)
    assert paths.probabilities.sum() == pytest.approx(1, abs=1e-12)
    x = GRID.axes[0]
    # E[x₁] = αE[x₀] and Var x₁ = α²Var x₀ + 1 − α², but for the grid's edge.
    for state, alpha in ((1, 0.9), (2, 0.9 * 0.8)):
        p = CHAIN.marginal(paths, state).probabilities
        mean, second = p @ x, p @ x**2
        assert mean == pytest.approx(alpha * (q.probabilities @ x), abs=2e-3)
        wanted = alpha**2 * (q.probabilities @ x**2) + 1 - alpha**2
        assert second == pytest.approx(wanted, abs=5e-3)
    assert CHAIN.marginal(paths, 0).log_masses == pytest.approx(q.log_masses, abs=1e-12)
    assert ul.kl(paths, CHAIN.paths(q1)) == pytest.approx(ul.kl(q, q1), abs=1e-10)


@pytest.mark.parametrize(
    ("relative", "widths", "regime"), [(2.0, (0.6, 0.6), "regular"), (5.0, (0.6, 0.8), "contact")]
)
def test_the_forward_optimum_on_paths_is_exact_and_noises_by_the_same_kernel(
    relative, widths, regime
):
    on_paths, at_start = make(ul.ForwardKL, relative, widths)
    solution, flat = ul.solve(on_paths), ul.solve(at_start)
    assert solution.certificate.ok and solution.certificate.regime == regime
    assert abs(solution.certificate.gap) < 1e-9
    # The chain rule: everything happens in x₀.
    assert solution.objective == pytest.approx(flat.objective, rel=1e-8)
    assert solution.multipliers == pytest.approx(flat.multipliers, rel=1e-5)
    assert CHAIN.departure(solution.model) < 1e-9
    held = CHAIN.marginal(solution.model, 0).probabilities > 1e-12
    for found, given in zip(conditional(solution.model), conditional(on_paths.retain), strict=True):
        assert np.abs(found - given)[held].max() < 1e-6


def test_only_the_difference_noises_as_one():
    """Noised, the target of FU is the difference of the noised; RU's is not their ratio."""
    distances = {}
    for kind, relative in ((ul.ForwardKL, 2.0), (ul.ReverseKL, 1.6)):
        on_paths, _ = make(kind, relative)
        solution = ul.solve(on_paths)
        assert CHAIN.departure(solution.model) < 1e-9
        for state in (1, 2):
            noised = CHAIN.marginal(solution.model, state)
            models = [CHAIN.marginal(m, state) for m in (on_paths.retain, *on_paths.forget)]
            there = kind(models[0], models[1:], relative=1.0)
            distances[kind, state] = ul.kl(noised, there.target(solution.multipliers))
    assert distances[ul.ForwardKL, 1] < 1e-9 and distances[ul.ForwardKL, 2] < 1e-9
    assert distances[ul.ReverseKL, 1] > 1e-3 and distances[ul.ReverseKL, 2] > 1e-3


def test_a_density_statistic_of_whole_paths_changes_the_kernel():
    ratio, _ = make(ul.Likelihood, 0.2, statistic="ratio")
    density, _ = make(ul.Likelihood, 0.2)
    assert CHAIN.departure(ul.solve(ratio).model) < 1e-9
    assert CHAIN.departure(ul.solve(density).model) > 0.05


def test_bad_input():
    q, _ = three_modes()
    with pytest.raises(ValueError, match="needs a 1-D grid"):
        ul.NoisingChain(ul.Grid((-1, -1), (1, 1), (8, 8)))
    with pytest.raises(ValueError, match="strictly between 0 and 1"):
        ul.NoisingChain(GRID, signal=(1.0, 0.5))
    with pytest.raises(ValueError, match="start lives on"):
        CHAIN.paths(ul.GaussianMixture([1], [0], [1]).on(ul.Grid(-5, 5, 32)))
    with pytest.raises(TypeError, match="start must be a model"):
        CHAIN.paths(q.log_masses)
    with pytest.raises(ValueError, match="paths lives on"):
        CHAIN.marginal(q, 0)
    with pytest.raises(ValueError, match="state must be 0, 1 or 2; got 3"):
        CHAIN.marginal(CHAIN.paths(q), 3)


@pytest.mark.filterwarnings("ignore:one of 48 cells holds", "ignore:the grid holds")
def test_far_tails_do_not_underflow():
    chain = ul.NoisingChain(ul.Grid(-8, 8, 48))
    for width in (0.15, 0.2, 0.3):
        narrow = ul.GaussianMixture([1], [0], [width]).on(chain.grid)
        paths = chain.paths(narrow)
        assert chain.departure(paths) < 1e-9
        assert chain.marginal(paths, 0).log_masses == pytest.approx(narrow.log_masses, abs=1e-9)
    with pytest.raises(TypeError, match="signal must be numbers"):
        ul.NoisingChain(chain.grid, signal=("a", "b"))
    with pytest.raises(TypeError, match="paths must be a model"):
        chain.departure(None)
