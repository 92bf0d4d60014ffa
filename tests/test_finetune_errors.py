"""finetune() on bad input: the message names what is wrong, and on which side."""

import numpy as np
import pytest
import torch
from students import SCHEDULE, Shifted, gaussian

import unlearnlab as ul

Q, Q1 = gaussian(0.0), gaussian(1.0)
RU = ul.ReverseKL(Q, [Q1], thresholds=[2.0])
OTHER = ul.Schedule(np.linspace(1e-4, 0.03, 500))


@pytest.mark.parametrize(
    ("student", "message"),
    [
        (ul.ScoreNetwork(2, SCHEDULE), r"retain lives on .*\(1,\).* student lives on .*\(2,\)"),
        (ul.ScoreNetwork(1, OTHER), "retain lives on .*1000 steps.*student lives on .*500 steps"),
        (Shifted(dtype=torch.float64), "retain lives on .*float32.*student lives on .*float64"),
        (None, "student must be a diffusion model with parameters.*NoneType"),
        (Q, "student must be a diffusion model with parameters.*DiffusedMixture"),
        (torch.nn.Linear(1, 1), "student must be a diffusion model with parameters.*Linear"),
    ],
)
def test_students_that_do_not_fit(student, message):
    with pytest.raises((ValueError, TypeError), match=message):
        ul.finetune(RU, student, steps=5)


def test_devices_are_compared():
    """The meta device stands for another one: it is there on every machine."""
    student = ul.ScoreNetwork(1, SCHEDULE, device="meta")
    with pytest.raises(ValueError, match=r"retain lives on .*on cpu.*student lives on .*on meta"):
        ul.finetune(RU, student, steps=5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"method": "gradient"},
            "method must be one of primal-dual, gate, log-variance, ",
        ),
        ({"multipliers": [-0.1]}, "multipliers must not be negative"),
        ({"multipliers": [[0.1], [0.2]]}, r"multipliers must have shape \(1, 1\)"),
        ({"batch": 1}, "batch must be a whole number of at least 2; got 1"),
        ({"batch": 2.5}, "batch must be a whole number of at least 2; got 2.5"),
        ({"seed": -1}, "seed must be a whole number between 0 and .*; got -1"),
        ({"seed": 2**70}, "seed must be a whole number between 0 and .*; got 1180"),
        ({"seed": True}, "seed must be a whole number between 0 and .*; got True"),
        ({"seed": 1.5}, "seed must be a whole number between 0 and .*; got 1.5"),
        ({"seed": "3"}, "seed must be a whole number between 0 and .*; got '3'"),
        ({"seed": None}, "seed must be a whole number between 0 and .*; got None"),
        *[
            ({name: value}, f"{name} must be True or False; got {value!r}")
            for name in ("evaluate", "resume", "progress")
            for value in ("no", 0, 1)
        ],
        ({"folder": ""}, "folder is empty"),
        ({"steps": -3}, "steps must be a whole number of at least 1"),
        ({"steps": 2.5}, "steps must be a whole number"),
        ({"lr": -1.0}, "lr must be positive"),
        ({"lr": float("nan")}, "lr must be positive"),
        ({"dual_lr": -1.0}, "dual_lr must not be negative"),
        ({"seed": [1, 2]}, "seed must be one number or 1"),
        ({"method": "dual-only"}, "dual-only' takes no student"),
        ({"momentum": 0.9}, "unknown setting 'momentum'.*primal_steps"),
    ],
)
def test_options(options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        ul.finetune(RU, Shifted(), **({"steps": 5} | options))


def test_problems_that_do_not_fit():
    grid = ul.Grid(-5, 5, 100)
    q, q1 = (ul.GaussianMixture([1.0], [m], [1.0]).on(grid) for m in (0.0, 1.0))
    with pytest.raises(TypeError, match="retain must be a diffusion model; got GridDensity"):
        ul.finetune(ul.ReverseKL(q, [q1], thresholds=[2.0]), Shifted())
    with pytest.raises(TypeError, match="problem must be a ReverseKL"):
        ul.finetune("forget me", Shifted())
    with pytest.raises(ValueError, match="empty list"):
        ul.finetune([], Shifted())
    other = ul.ReverseKL(gaussian(0.0), [Q1], thresholds=[1.0])
    with pytest.raises(ValueError, match="share models and options"):
        ul.finetune([RU, other], Shifted())
    with pytest.raises(ValueError, match=r"1 members but there are 2 problems; use student.stack"):
        ul.finetune([RU, ul.ReverseKL(Q, [Q1], thresholds=[1.0])], Shifted())


@pytest.mark.parametrize("kind", [ul.ReverseKL, ul.Likelihood])
def test_points_are_for_forward_kl_alone(kind):
    point = ul.PointMass(torch.tensor([1.5]), SCHEDULE)
    with pytest.raises(
        ul.SupportError, match=rf"forget\[1\] is PointMass.*{kind.__name__}.*use For"
    ):
        kind(Q, [Q1, point], thresholds=[2.0, 1.0])


@pytest.mark.parametrize("without", [torch.no_grad, torch.inference_mode])
def test_gradients_that_are_switched_off(tmp_path, without):
    with without(), pytest.raises(RuntimeError, match=r"outside torch.no_grad\(\) and torch.inf"):
        ul.finetune(RU, Shifted(), steps=1, batch=2, folder=tmp_path / "run")
    assert not (tmp_path / "run").exists()
