"""The benchmark's tasks on pictures: optima by counting, what axes read, a LoRA made elsewhere."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import rel_entr

from unlearnlab import benchmark
from unlearnlab.benchmark import __main__ as command
from unlearnlab.benchmark import methods, prompts
from unlearnlab.benchmark.definition import Effort
from unlearnlab.benchmark.families import AXES, EVERYWHERE
from unlearnlab.benchmark.judged import Judged
from unlearnlab.benchmark.pictures import weighed
from unlearnlab.benchmark.scenes import _drawn
from unlearnlab.stable_diffusion.scenes import ATTRIBUTES, Caption

SMALL = Effort(256, 96, 4, 4, 3, 100)
FEW = SMALL._replace(pool=32)  # of scenes, which cost ten times as much as digits
DIGIT, IMAGES = (replace(benchmark.task(name), effort=SMALL) for name in ("digit", "images"))
HORSE, THREE = (replace(benchmark.task(name), effort=FEW) for name in ("horse", "three"))


def bernoulli(r, pi):
    return float(rel_entr([r, 1 - r], [pi, 1 - pi]).sum())


def test_the_optimum_of_one_thing_is_the_divergence_of_its_rate():
    shown = np.zeros((200, 1))
    shown[:60] = 1
    for rate in (0.2, 0.05, 0.01):
        weights, nats = weighed(shown, [rate])
        assert nats == pytest.approx(bernoulli(rate, 0.3), rel=1e-6)
        assert weights[:60].sum() == pytest.approx(rate) and np.ptp(weights[60:]) < 1e-12
    assert weighed(shown, [0.4])[1] == 0  # nothing to forget: q itself
    assert weighed(shown, [0.0])[1] == pytest.approx(bernoulli(0.0025, 0.3), rel=1e-6)


def test_things_that_come_together_cost_less_than_one_after_the_other():
    """Of two that are independent KL adds; of two that are one it is that of one."""
    both = np.array([[a, b] for a in (0, 1) for b in (0, 1)] * 25, dtype=float)
    assert weighed(both, [0.1, 0.1])[1] == pytest.approx(2 * bernoulli(0.1, 0.5), rel=1e-6)
    same = np.repeat(both[:, :1], 2, axis=1)
    assert weighed(same, [0.1, 0.1])[1] == pytest.approx(bernoulli(0.1, 0.5), rel=1e-6)


def test_there_are_as_many_tasks_as_promised_and_each_says_what_it_asks():
    names = benchmark.names()
    assert len(names) == 12 and names[:4] == ["line-mild", "line-severe", "plane", "sixteen"]
    for name in names:
        task = benchmark.task(name)
        assert task.asks and 0 < task.relative < 1 and set(task.named) <= set(task.concepts)
        assert set(task.axes) <= set(AXES) and task.version >= 1
    assert set(EVERYWHERE) & set(HORSE.axes) == set()


@pytest.mark.parametrize(
    "name", ["naive", "NegGrad", "SISS", "ablation", "SalUn", "KL to the rest"]
)
@pytest.mark.parametrize("task", [DIGIT, IMAGES], ids=lambda task: task.name)
def test_methods_that_read_samples_train_on_digits(task, name):
    method = methods.METHODS[name]
    assert method.fits(task)
    run = method.train(task, **method._settings(task) | {"steps": 2})
    moved = zip(run.student.parameters(), task.student().parameters(), strict=True)
    assert any(not torch.equal(own, before) for own, before in moved)


def test_known_answers_on_digits():
    """A class of digits: the optimum by rejection, and a blur that its rate does not give away."""
    best, blurred = (
        benchmark.run(name, [DIGIT], seeds=[0], axes=["forgotten", "deviation", "rest"])
        .points[0]
        .scores
        for name in ("optimum", "blurred")
    )
    asked = max(0.05 * DIGIT.counted[:, 4].mean(), 0.5 / 96)  # of half a picture at least
    assert best["forgotten"]["4"].ideal == pytest.approx(asked)
    assert best["forgotten"]["4"].value < 0.06 and blurred["forgotten"]["4"].value < 0.06
    nats = best["deviation"]["nats"]
    assert nats.low <= nats.ideal <= nats.high and nats.high - nats.low < 0.2
    assert blurred["deviation"] == {}  # of mere draws no KL is known
    assert blurred["rest"]["distance"].low > best["rest"]["distance"].high


def test_planted_images_are_told_from_other_digits():
    x = torch.cat([IMAGES.forgotten(3), IMAGES.without(50, 0)])
    shown = IMAGES.shown(x)
    assert shown[:3, :3].equal(torch.eye(3, dtype=torch.bool)) and not shown[3:, :3].any()
    assert (shown.sum(1) == 1).all()
    assert len(IMAGES.data(10_000)) == 1442 + 19 + 59 + 179
    assert 30 < len(IMAGES.apart(64)) < 64 == len(IMAGES.apart(64)) + len(IMAGES.to_go(64))
    assert not methods.METHODS["tilt"].fits(IMAGES) and methods.METHODS["leave-out"].fits(IMAGES)
    assert methods.METHODS["tilt"].fits(DIGIT) and not methods.METHODS["leave-out"].fits(DIGIT)


def test_drawings_without_what_is_to_go_have_none_and_the_rest_at_its_rates():
    x = THREE.without(96, 3)
    rates = {name: float(one.double().mean()) for name, one in THREE.every(x).items()}
    assert max(rates[name] for name in ("horse", "cactus", "night")) < 0.08
    assert rates["cowboy"] > 0.9 and rates["desert"] == pytest.approx(0.67, abs=0.15)
    assert set(HORSE.concepts) < set(ATTRIBUTES) and "tree" not in HORSE.concepts
    assert Caption("cowboy").rates()["horse"] == 0.6
    # Prompts that ask for what is to go are neither paraphrases nor other prompts.
    night = benchmark.task("night")
    texts = [*night.paraphrases(), *night.untrained(), *HORSE.paraphrases()]
    assert not any("night" in text or "horse" in text for text in texts)


def test_made_up_words_are_learned_and_leave_the_pipeline_as_it_was():
    """Of a student that forgets nothing, they predict noise on horses better than its prompt."""
    task = replace(HORSE, effort=FEW._replace(tuning=20))
    student = task.student()
    table = student.source.pipeline.text_encoder.get_input_embeddings()
    before, hooks = table.weight.detach().clone(), len(table._forward_hooks)
    model = prompts.inverted_text(Judged(task, student), 1)
    assert torch.equal(table.weight, before) and len(table._forward_hooks) == hooks
    pictures = task.at(9).forgotten(32)
    noise = torch.randn(pictures.shape, generator=torch.Generator().manual_seed(0))
    t = torch.full((32,), 500)
    x_t = student.schedule.noised(pictures, t, noise)
    with torch.no_grad():
        errors = [
            float((one.noise_prediction(x_t, t) - noise).square().mean())
            for one in (model, student)
        ]
    assert errors[0] < errors[1]


def test_a_prompt_that_always_shows_what_is_to_go_leaves_nothing_to_train_on():
    with pytest.raises(ValueError, match="each of 100 drawings of 'cowboy' shows horse or cowboy"):
        _drawn("cowboy", 1, 0, ("horse", "cowboy"))


def test_a_searched_prompt_never_names_what_is_to_go():
    task = replace(HORSE, effort=FEW._replace(tuning=8))
    text = prompts.searched(Judged(task, task.student()))
    assert text.startswith("a ") and "horse" not in text


def test_a_lora_made_elsewhere_is_scored_from_its_file(tmp_path, monkeypatch, capsys):
    HORSE.student().save(tmp_path / "lora")
    monkeypatch.setattr(command, "FULL", FEW)
    where = ["--lora", str(tmp_path / "lora"), "--seed", "0", "--jobs", "1"]
    monkeypatch.setattr(type(HORSE), "axes", ("paraphrases",))
    monkeypatch.setattr("unlearnlab.benchmark.families.EVERYWHERE", ("forgotten",))
    out = tmp_path / "out"
    assert command.main([*where, "--task", "horse", "--folder", str(out)]) == 0
    found = json.loads((out / "results.json").read_text())["summary"]["horse"]["LoRA lora"]
    assert found["seeds"] == 1 and {"forgotten", "paraphrases"} < set(found)
    assert 0 < found["forgotten"]["horse"]["low"] < found["forgotten"]["horse"]["high"] < 1
    text = (out / "README.md").read_text()
    assert "No method has been run on line-mild, line-severe" in text
    for wrong, message in (
        (where, "--lora goes with --task"),
        ([*where, "--task", "plane"], "a LoRA is scored on tasks on prompts; 'plane' is none"),
        (["--task", "horse"], "name a method, or give --lora"),
        (["--report", "--folder", str(tmp_path / "no")], "there is nothing to report"),
    ):
        with pytest.raises(SystemExit):
            command.main(wrong if "--folder" in wrong else [*wrong, "--folder", str(out)])
        assert message in capsys.readouterr().err
