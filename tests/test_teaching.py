"""What checks say, whose numbers they have, and what teaching costs to import."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import unlearnlab as ul
from unlearnlab import teaching
from unlearnlab.teaching import EXERCISES, MISSED, NotYet, check, numbers_of, student
from unlearnlab.teaching.students import drawn, who

EXACT = [name for name in EXERCISES if name < "06"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A folder of its own, and no wrong answers so far."""
    monkeypatch.chdir(tmp_path)
    MISSED.clear()
    return tmp_path


def said(exercise, answer):
    with pytest.raises(NotYet) as sentence:
        check(exercise, answer)
    return str(sentence.value)


@pytest.mark.parametrize("exercise", EXERCISES)
def test_every_exercise_has_reasons_hints_and_variants(exercise):
    one = EXERCISES[exercise]
    assert len(set(one.hints)) == 3 and all(one.hints)
    assert (one.judge is None) == bool(one.because)
    keys = [set(numbers) for numbers in one.variants]
    assert all(names == keys[0] for names in keys)
    assert len({str(numbers) for numbers in one.variants}) == len(keys)


@pytest.mark.parametrize("exercise", EXERCISES)
def test_the_right_number_of_every_variant_is_right_and_its_neighbour_is_not(exercise):
    one = EXERCISES[exercise]
    if one.judge is not None:
        return
    for given in one.variants:
        right = one.expected(**given) if callable(one.expected) else one.expected
        assert one.verdict(right, given)[0]
        far = np.asarray(right) + 2 * one.tolerance * np.maximum(1, np.abs(right))
        assert not one.verdict(far, given)[0]


def test_right_is_followed_by_a_reason(capsys):
    check("10.2", 5000)
    assert capsys.readouterr().out == (
        "Right, because 1 − 1/√(2b) reaches the edge there; long before, nothing of q is left: "
        "P* = ½(√(2b) − 1)².\n"
    )


def test_each_new_wrong_answer_brings_a_hint_and_the_same_one_does_not():
    hints = EXERCISES["10.1"].hints
    for answer, tier in ((1.0, 0), (1.0, 0), (2.0, 1), (3.0, 2), (4.0, 2), (1.0, 2)):
        assert said("10.1", answer).endswith(f"Hint {tier + 1} of 3: {hints[tier]}")


def test_a_function_that_is_mended_and_still_wrong_is_a_new_answer():
    def dual(lam, b, q, q1):
        return offset

    for offset, tier in ((0.0, 1), (0.0, 1), (1.0, 2)):
        sentence = said("02.1", dual)
        assert f"answer is dual, which gives {offset:.6g} at " in sentence
        assert f"Hint {tier} of 3" in sentence


def test_nothing_to_bisect_with():
    for answer in (0.2, 9.0):
        sentence = said("10.1", answer).replace("9.,", "9,")
        assert f"{answer:g}, which is not it. (Your numbers: b = 2.) Hint " in sentence


@pytest.mark.parametrize(
    ("answer", "clause"),
    [
        (np.array([5.0]), "an array of shape (1,) where one number is asked for: take its .item()"),
        (torch.ones(1, 1, requires_grad=True), "shape (1, 1) where one number is asked for"),
        ([1.0, 2.0], "an array of shape (2,) where one number is asked for"),
        ("5000", "which is text: numbers are asked for, without quotes"),
        (True, "which is yes or no: a number is asked for"),
        (abs, "which is a function: call it, and hand in what it returns"),
        ({}, "which is not a number"),
        (float("nan"), "which is not finite"),
    ],
)
def test_answers_of_another_kind_get_a_sentence(answer, clause):
    assert clause in said("10.2", answer)


def test_one_number_for_several():
    assert "one number where 3 numbers in one list are asked for" in said("00.1", 0.1)


def test_a_tensor_is_a_number(capsys):
    check("10.2", torch.tensor(5000.0, requires_grad=True))
    assert capsys.readouterr().out.startswith("Right, because ")


def test_unknown_exercises_are_named():
    for ask in (numbers_of, lambda exercise: check(exercise, 1)):
        with pytest.raises(ValueError, match=r"exercise must be one of 00.1, .*; got '99.9'"):
            ask("99.9")


def test_nobodys_numbers_are_those_of_the_solutions(capsys):
    assert who() == ""
    assert vars(numbers_of("01.1")) == EXERCISES["01.1"].variants[0]
    assert capsys.readouterr().out == "Your numbers: mean = 2, b = 8\n"
    numbers_of("12.3")
    assert capsys.readouterr().out == "The numbers of this exercise are everyone's.\n"


def test_numbers_differ_by_student_and_the_check_follows(folder, capsys):
    seen = set()
    for i in range(30):
        student(f"student {i}")
        your = numbers_of("01.1")
        seen.add((your.mean, your.b))
        check("01.1", your.mean * (1 - (2 * your.b) ** 0.5 / abs(your.mean)))
        assert who() == f"student {i}" and (folder / "student.txt").exists()
    assert len(seen) == len(EXERCISES["01.1"].variants)


def test_a_name_draws_the_same_on_every_machine():
    assert [drawn("01.1", range(100), name) for name in ("", "ada", "grace")] == [0, 14, 45]
    assert drawn("01.2", range(100), "ada") != 14


@pytest.mark.parametrize("name", ["", "  ", "two\nlines", 7, None])
def test_names_are_one_line_of_text(name, folder):
    with pytest.raises(ValueError, match="name must be one line of text, such as 'ada'; got"):
        student(name)
    assert not (folder / "student.txt").exists()


@pytest.mark.skipif(not Path("/proc").exists(), reason="needs a folder that takes no files")
def test_a_folder_that_takes_no_file_is_named(monkeypatch):
    monkeypatch.chdir("/proc")
    with pytest.raises(ValueError, match="the folder of the notebooks '/proc' cannot be written"):
        student("ada")


def test_a_file_that_holds_no_name_is_named(folder):
    (folder / "student.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"student\.txt holds no text: set the name again"):
        check("01.1", 1)
    student("ada")
    assert who() == "ada"


def test_when_nbgrader_grades_its_id_counts(folder, monkeypatch):
    student("somebody else")
    monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")
    assert who() == folder.parent.name


def test_lessons_00_to_05_need_no_torch():
    """Their checks, every variant of them, and a quick import."""
    code = (
        "import sys\n"
        "class NoTorch:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name.split('.')[0] == 'torch': raise ImportError(name)\n"
        "sys.meta_path.insert(0, NoTorch())\n"
        "from unlearnlab.teaching import EXERCISES\n"
        "light = {'scipy', 'matplotlib', 'IPython'} & set(sys.modules)\n"
        "for name, one in EXERCISES.items():\n"
        "    for given in one.variants if name < '06' else ():\n"
        "        if callable(one.expected): one.expected(**given)\n"
        "print(light)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("set()\n", "")


def test_a_dual_function_is_tried_on_densities_it_has_not_seen():
    def dual(lam, b, q, q1):
        u = lam / (1 - lam)
        mean = q.probabilities @ np.exp(u * (q.log_density - q1.log_density))
        return lam * b - (1 - lam) * np.log(mean)

    assert EXERCISES["02.1"].verdict(dual, {})[0]
    wrong = said("02.1", lambda lam, b, q, q1: dual(lam, b, q, q1) + 1e-4)
    assert "which gives" in wrong and "for two other densities" in wrong
    assert "TypeError" in said("02.1", lambda lam: 0.9)


def test_combs_of_neighbours_are_combs_and_halves_are_not():
    cells, share = np.arange(2001), {"share": 0.25}
    right, why = EXERCISES["03.1"].verdict(cells % 4 == 0, share)
    assert right and "each integral gets its share" in why
    assert not EXERCISES["03.1"].verdict(cells % 2 == 0, share)[0]
    assert not EXERCISES["03.1"].verdict(cells < 500, share)[0]
    assert "2001 cells" in EXERCISES["03.1"].verdict(cells[:10] % 4 == 0, share)[1]


def test_prices_and_shares_are_both_asked_for():
    one = EXERCISES["00.3"]
    given = one.variants[0]
    assert one.verdict(0.015, given)[0]
    assert "more than 0.02" in one.verdict(0.05, given)[1]
    assert "more than 0.37" in one.verdict(0.005, given)[1]


def test_gaps_close_at_the_number_of_parts_that_the_formula_says():
    atoms, atoms1 = ul.Discrete([0.300, 0.695, 0.005]), ul.Discrete([0.69, 0.30, 0.01])
    for given in EXERCISES["03.3"].variants:
        parts = EXERCISES["03.3"].expected(**given)
        gaps = []
        for k in (parts - 1, parts):
            split = ul.ReverseKL(atoms.split(k), [atoms1.split(k)], thresholds=[given["b"]])
            certificate = ul.solve(split).certificate
            gaps.append(certificate.primal - certificate.dual)
        assert gaps[1] < 1e-6 < gaps[0]


def stored(exercise):
    """The numbers of each variant, and what is stored as right."""
    one = EXERCISES[exercise]
    return [(*given.values(), one.expected(**given)) for given in one.variants]


def test_virginicas_share_is_what_is_stored():
    from scipy.stats import gaussian_kde
    from sklearn.datasets import load_iris

    iris = load_iris()
    plane = ul.Grid(low=(-0.5, -0.6), high=(9.0, 3.8), cells=(160, 120))
    estimates = [gaussian_kde(iris.data[iris.target == kind, 2:].T) for kind in range(3)]
    heights = [
        np.exp(plane.density(lambda z, e=e: np.log(e(z.T) + 1e-12)).log_density) for e in estimates
    ]
    flowers = plane.density(np.log(np.mean(heights, axis=0)))
    versicolor, there = plane.density(np.log(heights[1])), np.argmax(heights, axis=0) == 2
    for relative, right in stored("01.3"):
        model = ul.solve(ul.Likelihood(flowers, [versicolor], relative=relative)).model
        shares = [p.probabilities[there].sum() for p in (model, flowers)]
        assert shares[0] / shares[1] == pytest.approx(right, abs=1e-5)


def test_composed_paths_depart_by_what_is_stored():
    grid = ul.Grid(low=-5.0, high=5.0, cells=64)
    chain = ul.NoisingChain(grid, signal=(0.9, 0.8))
    q = ul.GaussianMixture([0.4, 0.35, 0.25], means=[-2.5, 0, 2.5], stds=[0.6] * 3).on(grid)
    paths = [chain.paths(p) for p in (q, ul.GaussianMixture([1.0], [0], [0.6]).on(grid))]
    ends = [chain.marginal(p, 2) for p in paths]
    for relative, right in stored("05.2"):
        solution = ul.solve(ul.ReverseKL(paths[0], paths[1:], relative=relative))
        composed = ul.ReverseKL(ends[0], ends[1:], relative=1.0).target(solution.multipliers)
        assert ul.kl(chain.marginal(solution.model, 2), composed) == pytest.approx(right, abs=1e-6)
    for relative, right in stored("05.3"):
        whole = ul.solve(ul.Likelihood(paths[0], paths[1:], relative=relative))
        assert chain.departure(whole.model) == pytest.approx(right, abs=1e-6)


def test_modes_melt_into_one_hill_where_it_is_stored():
    from unlearnlab.teaching.noise import noised

    for std, right in stored("06.1"):
        mix = ul.GaussianMixture([0.2, 0.5, 0.3], means=[-3, 0, 3], stds=[std] * 3)
        hills = []
        for t in (right - 1, right):
            d = noised(mix, t).log_density
            hills.append(((d[1:-1] > d[:-2]) & (d[1:-1] > d[2:])).sum())
        assert hills[0] > hills[1] == 1


def test_settings_that_swing_are_told_and_settings_that_settle_are_scored():
    one = EXERCISES["10.4"]
    given = one.variants[0]
    right, why = one.verdict({"dual_lr": 0.01, "primal_steps": 5, "lr": 0.1}, given)
    assert right and "dual steps that the student can follow" in why, why
    wrong = one.verdict({"dual_lr": 0.05, "primal_steps": 2}, given)
    assert not wrong[0] and "asked: 0.02 of each" in wrong[1]
    assert "no dictionary of" in one.verdict({"multipliers": [0.75]}, given)[1]
    assert "256 at most" in one.verdict({"batch": 100_000}, given)[1]


def test_a_baseline_is_judged_by_what_its_student_draws(monkeypatch):
    """Here the student draws data: digits of all classes but the fours, or fours alone."""
    from unlearnlab.baselines import Naive  # before `finetune` is replaced, which it would keep
    from unlearnlab.training.denoising import DataObjective

    class Own(DataObjective):
        def losses(self, student, multipliers, draws):
            yield self.errors(student, draws)[:, 0].mean(1)

    module, verdicts = sys.modules["unlearnlab.training.finetune"], []
    for images in (ul.digits.data().without(4).images, ul.digits.data().of(4).images):
        student = SimpleNamespace(sample=lambda count, images=images, **how: images[:count])
        run = SimpleNamespace(student=student)
        monkeypatch.setattr(module, "finetune", lambda *given, run=run, **options: run)
        verdicts.append(EXERCISES["12.4"].verdict(Own, {}))
    assert verdicts[0][0] and "digits without fours have 0 %" in verdicts[0][1]
    assert not verdicts[1][0] and "00 % of its draws at label 4 are fours" in verdicts[1][1]
    for other in (3, int, Naive):
        assert "which is no class of yours" in EXERCISES["12.4"].verdict(other, {})[1]


def test_everything_public_is_there():
    for name in teaching.__all__:
        assert hasattr(teaching, name)


def loop_of_ones_own(least=0.0, sign=1.0):
    """Lesson 08's loop; right as it is."""
    from unlearnlab.teaching.loops import gaussians

    def primal_dual(b, mean):
        theta, price = torch.zeros(2, requires_grad=True), 0.0
        optimizer = torch.optim.SGD([theta], lr=0.1)
        for _ in range(400):
            for _ in range(5):
                deviation, separation = gaussians(theta, mean)
                loss = deviation + price * (b - separation)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            violation = b - float(gaussians(theta.detach(), mean)[1])
            price = max(least, price + sign * 0.05 * violation)
        return theta[0].item(), price

    return primal_dual


def test_a_loop_of_ones_own_meets_the_saddle_point_or_is_told_where_not():
    assert EXERCISES["08.2"].verdict(loop_of_ones_own(), {})[0]
    # Without the cut at 0 a slack constraint is paid for; with the sign turned nothing is.
    for loop, case in (
        (loop_of_ones_own(least=-9.0), "b = 0.1"),
        (loop_of_ones_own(sign=-1.0), "b = 2"),
    ):
        right, why = EXERCISES["08.2"].verdict(loop, {})
        assert not right and f"for {case} and a q₁ at 1 it ends at m = " in why
    assert "which does not return two numbers" in said("08.2", lambda b, mean: 0.5)


def test_a_guidance_counts_by_what_its_samples_reach():
    verdict = EXERCISES["09.1"].verdict
    assert verdict(0.22, {})[0]
    for u, found in ((0.176, "2.28"), (0.25, "2.59")):  # of the run's own readings; too far
        right, why = verdict(u, {})
        assert not right and f"its samples are {found} nats from q₁, and 2.46 are asked" in why
    assert "which is no guidance" in said("09.1", -0.2)


def test_labs_on_pictures_refuse_other_things_before_they_draw():
    assert "which is not (prompt, levels, noises)" in said("13.1", "a cowboy with a cactus")
    assert "192 noised copies a picture: 96 at most" in said("13.1", ("a cactus", 24, 8))
    assert "hand in a ComposedModel, or run.student" in said("15.3", 1.0)
    assert "three multipliers in one list" in said("16.4", [0.5, 0.1])
    assert "sum to less than 1" in said("16.4", [0.5, 0.4, 0.2])


def test_a_guidance_is_undone_or_is_told_where_it_stands():
    verdict = EXERCISES["14.1"].verdict
    for low, high in ((2, 4), (1.5, 3)):
        share = (1 - low) / (high - low)
        right, why = verdict(lambda a, b, s=share: a + s * (b - a), {"low": low, "high": high})
        assert right and "a straight line in w" in why
    for wrong, said_of_it in (
        (lambda a, b: (a + b) / 2, "the prediction at w = 3"),
        (lambda a, b: 2 * a - b, "the prediction at w = 0"),
        (lambda a, b: b - a, "no prediction of this prompt at any guidance"),
        (lambda a, b: a.mean(), "does not return one tensor of the shape of the two"),
        (lambda a, b: a / 0, "no prediction of this prompt at any guidance"),
        (3.0, "cannot be used"),
    ):
        right, why = verdict(wrong, {"low": 2, "high": 4})
        assert not right and said_of_it in why
