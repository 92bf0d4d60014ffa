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
        'flow, tell = ul.digits.load_model("flow")': (
            # Whether a digit is a four is all that the constraint sees: two coins, and a from λ.
            "0.05 < (fours := 0.02 / (0.02 + 0.98 * np.exp(-solution.multipliers[0]))) < 0.2",
            "abs(0.02 * np.log(0.02 / fours) + 0.98 * np.log(0.98 / (1 - fours))"
            " - solution.objective) < 1e-6",
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
    "08": {
        "repeats = {": (
            "(off['RU'][:, 0] < -0.03).all() and (off['LU'][:, 0] < -0.015).all()",
            "abs(off['FU']).max() < 0.06",
            "abs(off['FU'].mean(0)).max() < 0.8 * abs(off['RU'].mean(0)).max()",
        ),
        "share of the run (%)": (
            "0.75 < last['FU'] < 1.25",
            "0.75 < last['LU'] < 1.25",
            "last['RU'] > 1.3",
        ),
    },
    "09": {
        "alone = ul.finetune": (
            "abs(alone.multipliers[0] - 0.149) < 0.02",
            "abs(run.history['multipliers'][-100:, 0].mean() - alone.multipliers[0]) < 0.03",
            "abs(believed - asked) < 0.06 * asked",
            "measured.constraints[0] < asked",
        ),
        "on_pool = ul.solve": "abs(on_pool.multipliers[0] / exact.multipliers[0] - 1) < 0.1",
        "roads = {": (
            "[made.status for made in promised.values()] == ['converged'] * 4",
            "max(paid['tilt'], paid['log-variance']) < 1.4",
            "1.4 < min(paid['primal–dual'], paid['gate'])",
        ),
    },
    "10": {
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
    "11": {
        "share = {name: share_back(": (
            "min(share['memorised']) > 0.25",
            "max(share['never planted']) < 0.15",
        ),
        "alike = {": "(abs(gap) < 0.2).all()",
        "surprises = {": (
            "surprises['memorised'].max() < 25 < 60 < surprises['never planted'].min()",
            "(surprises['memorised'] > exact).all()",
        ),
        "for name, row in shares.items():": (
            "min(shares['before']) > 0.25",
            "max(shares['known masses']) < 0.25",
            "max(shares['equal, 0.035'][:2]) < 0.25 < shares['equal, 0.035'][2]",
            "max(shares['equal, 0.106']) < 0.25",
            "max(shares['dual, 2000 nats']) < 0.25",
            "away['equal, 0.106'] > 1.5 * away['known masses']",
        ),
        'history = runs["dual, 2000 nats"]': (
            "(peaks > mass)[:2].all()",
            "(np.diff(peaks) > 0).all()",
        ),
        'modest = runs["dual, 2×"]': (
            "(reading > 1.5 * surprises['memorised']).all()",
            "back[0] > 0.25 and back[2] > 0.25",
            "price[2] < mass[2] / 10",
        ),
        "at_most=0.2": (
            "shares['at most 0.2'][2] < shares['before'][2]",
            "away['at most 0.2'] < 0.05",
        ),
    },
    "12": {
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
        "def mine(task)": (
            "all(p.scores['forgotten']['middle, likelihood'].low > 0.05"
            " for p in scores.points[:2])",
            "scores.points[2].scores['forgotten']['middle, likelihood'].low < 0.05",
            "0.9 < scores.points[2].scores['deviation'][\"over the optimum's\"].value < 2",
        ),
    },
    "13": {
        "asked = {": (
            "counted['a cowboy']['cowboy'] > 0.8",
            "counted['a cowboy']['horse'] > 0.4",
            "counted['a ball']['red'] > 0.55",
        ),
        "drawings = scenes.drawings(": (
            "lost.square().mean().sqrt() < 0.05",
            "same.double().mean() > 0.99",
            "abs(latents.std() - 1) < 0.1 < abs(raw.std() - 1)",
        ),
        "found = quadrature.log_ratios(": (
            "list(pairs.values())[0] > 0.65",
            "max(list(pairs.values())[1:]) < list(pairs.values())[0]",
            "typical[0] < 1.2 and typical[0] < typical[1]",
            "spread[1] > 4",
            "0 < -ratio[:, 0].mean() < 3",
        ),
        'temperature="dim")': (
            "np.sort(np.exp(ratio[:, 1]))[-3:].sum() > 0.5 * np.exp(ratio[:, 1]).sum()",
            "ell.max() < 5 * ell.min()",
            "abs(ell[has].mean() - ell[~has].mean()) < 0.05",
        ),
    },
    "14": {
        "rates = {w: rates_of(one": (
            "rates[4]['cowboy'] >= rates[1]['cowboy']",
            "rates[4]['desert'] > rates[1]['desert']",
            "rates[4]['meadow'] < rates[1]['meadow']",
        ),
        "def lead(w):": ("gap > 3 * error_of_gap", "gamma < 0"),
        "composed = {u:": (
            "gap < 1e-4",
            "left[3]['horse'] < 0.5 * left[0]['horse']",
            "left[3]['cowboy'] > 0.8",
        ),
        "def tried(": ("late[0] > 0.4 and late[2] > 4",),
        "student = sd.lora(": (
            "share < 0.03",
            "apart(loaded, q) > 0.01",
            "apart(student, q) < 1e-4",
        ),
        "calls = []": ("most < 1e-4", "calls == [12, 4, 4, 4]"),
    },
    "15": {
        "share = rates_of(before, classifier)": (
            "share['cowboy'] > 0.8",
            "0.5 <= share['horse'] <= 0.7",
        ),
        "led_away = {": (
            "whole['horse'] < share['horse'] / 2 < alone['horse']",
            "alone['desert'] > share['desert'] + 0.1",
        ),
        "problem = ul.ReverseKL(cowboy": (
            "reading[:3].mean() < 2 and reading[-8:].mean() > 5",
            "0.6 < run.multipliers[0] < 0.9",
        ),
        "texts = {": (
            "now['horse'] < was['horse'] / 2 and now['cowboy'] > was['cowboy'] / 2",
            "now['cactus'] < 0.8 * was['cactus']",
            "rates_of(new['a horse'], classifier)['horse']"
            " > rates_of(old['a horse'], classifier)['horse'] / 2",
        ),
        "least = left": "float(paid) > 2 * least",
        "again = sd.load_lora(": (
            "horses[0] == share['horse'] and horses[2] == left",
            "horses[1] < horses[0]",
        ),
    },
    "16": {
        "def walk(multipliers": (
            "abs(float(library) / before['separations'][0] - 1) < 1e-3",
            "(np.diff(before['separations']) > 0).all()",
            "before['separations'][0] < 6 and before['separations'][1] < 12",
            "before['separations'][2] > 80",
            "(np.diff(list(map(float, back))) > 0).all()",
            "all(float(v) > -np.log(drawings[k]) for v, k in zip(back, names))",
            "all(abs(before['rates'][k] - drawings[k]) < 0.15 for k in names)",
        ),
        "equal = {total:": (
            "all(np.argmin(one['separations']) == 0 for one in equal.values())",
            "all(one['rates']['horse'] > 0.4 for one in equal.values())",
            "before['separations'][2] > 10 * before['separations'][:2].sum()",
            "equal[0.4]['rates']['meadow'] + equal[0.4]['rates']['night']"
            " < 2 / 3 * (before['rates']['meadow'] + before['rates']['night'])",
            "equal[0.4]['rates']['desert'] > before['rates']['desert'] + 0.1",
        ),
        "runs[b] = ul.finetune(": (
            "all(row[0] > 0.2 and row[1] < row[0] / 2 and row[2] == 0 for row in found.values())",
            "found[8.0][0] > found[3.0][0]",
        ),
        "def curve(kind):": (
            "all(one['deviation'] < 2 / 3 * matched[b] for b, one in asked.items())",
            "all(asked[8.0]['rates']['horse'] < one['rates']['horse'] - 0.05"
            " for one in equal.values())",
            "all(one['rates']['cowboy'] > 0.85 for k in kinds.values() for one in k.values())",
        ),
        'rows = {"before": before, "b = 8"': (
            "asked[8.0]['rates']['horse'] < equal[0.4]['rates']['horse']",
            "asked[8.0]['rates']['night'] > 0",
            "equal[0.4]['rates']['night'] <= asked[8.0]['rates']['night']",
            "equal[0.3]['separations'].sum() > asked[8.0]['separations'].sum()",
            "equal[0.3]['deviation'] < asked[8.0]['deviation']",
        ),
        "readings = {b:": "all(asked[b]['separations'][0] > one for b, one in readings.items())",
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
