"""What lessons print with digits that differ between machines, as facts that hold on all of them.

nbval does not compare such a cell with what is stored, for it has the tag `nbval-ignore-output`.
Instead tutorials/solutions/conftest.py has the facts asserted in the lesson's kernel, just after
the cell: FACTS[lesson][a piece of the cell's code] is one expression or several.
"""

FACTS = {
    "00": {
        "samples = likelihood.model.sample": "abs(seen - expected) < 5 * expected**0.5",
    },
    "02": {
        "worst relative gap of 34": "max(worst.values()) < 1e-9",
    },
    "03": {
        "third = ul.lyapunov_split": (
            "divided.sum() <= 3",
            "(np.array(third.errors) <= third.bounds).all()",
            "max(third.split_errors) < 1e-12",
        ),
        "shrinking = {}": (
            "all(one.errors[1] <= one.bounds[1] for one in shrinking.values())",
            "9 < shrinking[200].bounds[1] / shrinking[2000].bounds[1] < 11",
            "9 < shrinking[2000].bounds[1] / shrinking[20000].bounds[1] < 11",
        ),
        'drops = {"average": [], "comb": []}': (
            "farthest['comb'] < 0.05 < farthest['average']",
            "all(abs(c - o) < 1e-9 and c < 0 for c, o in drops['average'])",
        ),
        "misses = {}": (
            "misses['ForwardKL'][0] > 0.1 > abs(misses['ForwardKL'][1])",
            "abs(misses['Likelihood']).max() < 0.1",
        ),
    },
    "05": {
        "((one, two),) = ul.boundary_pairs(problem, 1, seed=5)": (
            "all(abs(solution.certificate.gap) < 1e-9 for solution in solutions.values())",
            "short[1] < 0.01 < short[0]",
        ),
        "on_paths = ul.solve": (
            "max(abs(s.certificate.gap) for s in (on_paths, on_points)) < 1e-9",
            "chain.departure(on_paths.model) < 1e-9",
        ),
        "def composed(": (
            "chain.departure(reverse.model) < 1e-9",
            "far['FU'] < 1e-9 and abs(far['RU'] - 0.0082) < 1e-4",
        ),
    },
    "06": {
        "average = [eps[": "far < 1e-3",
        "nets = {": (
            "away[500].value < 0.1 and away[50].value < 1 and away[500].value < away[50].value",
            "all(estimate.stderr < 0.02 * estimate.value for estimate in away.values())",
        ),
    },
    "07": {
        "def lemma3": (
            "abs(value - 0.07984) < 4 * error + 1e-4 and error < 1e-3",
            "len(compared) == 3 and all(abs(e.value - truth) < 4 * e.stderr + e.truncation "
            "and e.truncation < 1e-3 for truth, e in compared.values())",
        ),
        "point, draws = 1.5, 4000": (
            "all(abs(mean - truth) < 4 * error for mean, error in means.values())",
            "means['same'][1] < 0.01 < means['separate'][1]",
        ),
        "places = torch.tensor": (
            "(estimate.stderr < 2e-3).all()",
            "(abs(estimate.value - truth) < 5 * estimate.stderr + abs(estimate.truncation)).all()",
        ),
    },
    "11": {
        "esd = gradient(": "apart(esd, d1) > 0.1 and apart(esd, d1 / (1 - price)) < 1e-4",
        "siss = gradient(": (
            "apart(siss, fu / (1 - share)) < 1e-4",
            "apart(naive, neglect) < 1e-4",
        ),
        "repeats, batch": (
            "max(same) < 1.6",
            "min(ratios) > 1",
            "ratios[1] / 2 < 1 < ratios[3] / 2",
        ),
        "uphill = sum(": "change(uphill) > 1000 * change(anywhere)",
        "looks = {": (
            "all(np.median(values) < 2 for values in distances.values())",
            "np.quantile(distances['null class'], 0.75) < 2",
            "np.quantile(distances['class 9'], 0.75) > 2",
        ),
        "classifier = ul.digits.load_classifier()": (
            "max(float(one[4]) for one in list(shares.values())[1:]) < 0.4",
            "min(float(shares[k][9]) for k in ('KL to 9', 'Hellinger to 9')) > 0.7",
            "max(far[k] for k in ('naive', 'SISS', 'KL to null')) < far['ESD'] < far['NegGrad']",
            "max(list(sevens.values())[1:]) < sevens['before']",
        ),
        "unconditional = ul.digits": "abs(share - 0.1) < 0.01 and left > 0.05",
        "five, unseen": "shares['SISS'][4] < 0.2 and found > 0.5",
    },
    "09": {
        "provoked = {": (
            "[run.status for run in provoked.values()] == "
            "['unchecked', 'oscillating', 'saturating', 'violated', 'plateau']",
        ),
        "falls = {}": (
            "[run.status for run in falls.values()] == ['fixed', 'diverged']",
            "float(falls['with the clip'].student.mean) < -20",
        ),
        "gaps, ends = {}, {}": (
            "abs(gaps['primal–dual', '64 wide'].duality) < 1e-8",
            "gaps['primal–dual', '64 wide'].estimation > 0.005",
            "gaps['tilt', '64 wide'].estimation < 5e-4",
            "all(float(gaps[road, '8 wide'].network) > gaps[road, '8 wide'].total / 2 "
            "for road in ('primal–dual', 'tilt'))",
        ),
        "swinging = train": (
            "abs(swinging.history['multipliers'][-50:, 0] - 1 + (2 * your.b) ** -0.5).max() > 0.1",
        ),
    },
}


def facts_after(lesson: str, source: str) -> list[str]:
    """The expressions that must hold after a cell."""
    found = []
    for piece, facts in FACTS.get(lesson, {}).items():
        if piece in source:
            found += [facts] if isinstance(facts, str) else facts
    return found


def assertions(facts: list[str]) -> str:
    """A cell that fails with the fact that does not hold."""
    return "\n".join(f"assert {fact}, {fact!r}" for fact in facts)
