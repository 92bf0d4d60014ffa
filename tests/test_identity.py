"""What a run is: its models, data and functions by what they hold, not by what they are called."""

import json
import warnings
from types import ModuleType

import numpy as np
import pytest
import torch
from students import Shifted, gaussian
from torch import nn

import unlearnlab as ul
from unlearnlab.identity import content, differences
from unlearnlab.images import ImageFolder, write_image
from unlearnlab.training import identities

HOW = {"steps": 2, "batch": 4, "evaluate": False, "progress": False}
LIMIT = 0.5


def run(folder, problem, resume, student=None, **how):
    return ul.finetune(problem, student or Shifted(), folder=folder, resume=resume, **HOW | how)


def refused(folder, problem, what, **how):
    with pytest.raises(
        ValueError, match=f"is of another run: .*its {what}.*nothing was overwritten"
    ):
        run(folder, problem, True, **how)


def test_another_mixture_of_the_same_description_is_another_run(tmp_path):
    def problem(mean, std=1.0):
        return ul.ReverseKL(gaussian(0.0), [gaussian(mean, std)], thresholds=[2.0])

    run(tmp_path, problem(1.0), False)
    run(tmp_path, problem(1.0), True)
    refused(tmp_path, problem(1.0 + 1e-9), "forgotten mixture GaussianMixture means is .float64")
    refused(tmp_path, problem(1.0, 1.1), "forgotten mixture GaussianMixture covariances is")


def test_another_network_of_the_same_shape_is_another_run(tmp_path):
    def problem(seed, own=0):
        one, two = (ul.ScoreNetwork(1, width=4) for _ in range(2))
        with torch.no_grad():
            one.read_out.bias += own
            two.read_out.bias += seed
        return ul.ReverseKL(one, [two], thresholds=[1.0])

    how = {"student": ul.ScoreNetwork(1, width=4), "sampling_steps": 2}
    run(tmp_path, problem(0.1), False, **how)
    run(tmp_path, problem(0.1), True, **how)
    refused(tmp_path, problem(0.2), "forgotten weights is", **how)
    refused(tmp_path, problem(0.1, 0.3), "retained weights is", **how)
    other = {"student": ul.ScoreNetwork(1, width=4, seed=1), "sampling_steps": 2}
    refused(tmp_path, problem(0.1), "student's first weights is", **other)


def test_several_differences_are_listed(tmp_path):
    problem = ul.ReverseKL(gaussian(0.0), [gaussian(1.0)], thresholds=[2.0])
    run(tmp_path, problem, False)
    with pytest.raises(ValueError, match=r"its batch is 4, here it is 8; .*its settings lr is"):
        run(tmp_path, problem, True, batch=8, lr=0.5)


def test_another_number_of_processes_is_another_run(tmp_path):
    problem = ul.ReverseKL(gaussian(0.0), [gaussian(1.0)], thresholds=[2.0])
    run(tmp_path, problem, False)

    class Two:
        """An accelerator that says it is the first of two."""

        def __init__(self):
            from accelerate import Accelerator

            self.own = Accelerator(cpu=True)

        num_processes = 2

        def __getattr__(self, name):
            return getattr(self.own, name)

    refused(tmp_path, problem, "processes is 1, here it is 2", accelerator=Two())


def test_images_count_by_what_they_show_not_where_they_lie(tmp_path):
    images = ul.digits.data().images[:4]
    for i, image in enumerate(images):
        write_image(tmp_path / "here" / f"{i}.png", image)
        write_image(tmp_path / "moved" / "on" / f"{i}.png", image)
        write_image(tmp_path / "others" / f"{i}.png", -image)
    here, moved, others = (
        content(ImageFolder(tmp_path / name, (1, 8, 8))) for name in ("here", "moved", "others")
    )
    assert here == moved != others and here[0] == others[0]


def test_the_scale_of_an_adapter_counts(tmp_path):
    sd = ul.TextToImage.from_pretrained("tiny")
    student = sd.lora(rank=1)
    student.save(tmp_path)
    sd.pipeline.load_lora_weights(tmp_path)
    found = []
    for scale in (1.0, 1.0, 0.5):
        sd.pipeline.set_adapters(["default_0"], [scale])
        found.append(content(sd.prompt("a cowboy")))
    assert found[0] == found[1]
    assert next(differences(found[1], found[2]))[0].startswith("adapters")
    assert content(sd.prompt("a horse")) != found[2]


def test_prompts_of_one_unet_read_it_once(monkeypatch):
    sd = ul.TextToImage.from_pretrained("tiny")
    read = []
    told = identities.weights_told
    monkeypatch.setattr(identities, "weights_told", lambda w: (read.append(len(w)), told(w))[1])
    prompts = [sd.prompt(text) for text in ("a cowboy", "a horse", "a cactus")]
    assert len(identities.weights_of(prompts)) == 1 and len(read) == 1
    assert not any("weights" in content(one) for one in prompts)


def helper(x):
    return x[:, 0] > LIMIT


def above(x):
    return helper(x)


def test_what_a_function_reads_of_its_module_counts(monkeypatch):
    first = content(above)
    assert first == content(above)
    monkeypatch.setitem(globals(), "LIMIT", 0.6)
    where = [one[0] for one in differences(first, content(above))]
    assert where == ["reads helper reads LIMIT"]
    monkeypatch.undo()
    monkeypatch.setitem(globals(), "helper", lambda x: x[:, 0] > LIMIT)
    assert content(above) != first


def countdown(n):
    return 0 if n == 0 else countdown(n - 1)


def test_what_a_class_of_its_module_does_counts():
    """Its functions, its numbers and what it inherits there."""
    found = []
    for body, factor in (("x + 1", 2), ("x + 2", 2), ("x + 1", 3), ("x + 1", "{'lr': 2}")):
        module = ModuleType("a_students_file")
        exec(CLASSES.format(body=body, factor=factor), vars(module))
        found.append(content(module.method))
        assert content(module.method) == found[-1]
    assert all(found[0] != other for other in found[1:])


def test_classes_that_name_each_other_are_read_once():
    """Twelve, each of which names all others: to follow every way between them would not end."""
    names = [f"C{k}" for k in range(12)]
    body = "\n".join(f"    def m{k}(self): return {name}()" for k, name in enumerate(names))
    text = "\n".join(f"class {name}:\n{body}" for name in names)
    module = ModuleType("a_students_file")
    exec(f"{text}\ndef method(task): return C0()", vars(module))
    told = json.dumps(content(module.method))
    assert all(told.count(f'"m{k}"') == len(names) for k in range(12))


CLASSES = """
import torch

class Base:
    factor = {factor}

class Model(Base):
    def there(self, x):
        return Model() if x is None else {body}

def method(task):
    return Model(), torch.nn.Linear(1, 1)
"""


def test_a_function_that_calls_itself_is_read_once():
    assert content(countdown) == content(countdown)


def test_networks_inside_functions_count():
    def scored(network):
        return lambda x: network(x)[:, 0]

    one, two = nn.Linear(1, 1), nn.Linear(1, 1)
    assert content(scored(one)) == content(scored(one)) != content(scored(two))
    dropping = nn.Sequential(nn.Dropout(0.1)), nn.Sequential(nn.Dropout(0.2))
    assert content(scored(dropping[0])) != content(scored(dropping[1]))


def test_a_function_of_a_pipeline_is_told_by_its_weights():
    sd = ul.TextToImage.from_pretrained("tiny")

    def shown(latents):
        return sd.decode(latents)

    first = content(shown)
    with torch.no_grad():
        next(sd.pipeline.vae.decoder.parameters()).add_(1e-3)
    where = [one[0] for one in differences(first, content(shown))]
    assert where == ["closes over sd vae weights"]


def test_models_of_all_kinds_are_told_and_told_apart():
    """Every kind is read without a warning, ready for JSON, and its numbers count."""

    def made(by):
        q, q1 = gaussian(0.0), gaussian(1.0 + by)
        problem = ul.ReverseKL(q, [q1], thresholds=[2.0])
        points = torch.tensor([[0.0], [by]])
        return [
            q1,
            ul.wrap(lambda x_t, t: (1 + by) * x_t, q.schedule, 1),
            ul.ComposedModel(q, [q1], [0.5]),
            ul.DataSet(points, q.schedule),
            ul.PointMass(points[1], q.schedule),
            problem.gated([0.5]),
            problem,
            {"of": frozenset(["b", "a", str(by)])},
        ]

    for one, again, other in zip(made(0.0), made(0.0), made(0.5), strict=True):
        told = [json.dumps(content(item), sort_keys=True) for item in (one, again, other)]
        assert told[0] == told[1] != told[2], one


def test_what_holds_itself_is_read_once():
    ring = [1, {"two": 2}]
    ring.append(ring)
    assert content(ring) == [1, {"two": 2}, "itself"]


def test_what_cannot_be_read_is_said():
    generator = np.random.default_rng(0)
    with pytest.warns(UserWarning, match="holds cannot be read.*ul.Function"):
        content(generator.normal)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        content([len, np.exp, torch.relu, torch.float32, ul.Grid(-1, 1, 5), print])
