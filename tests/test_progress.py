"""Bars and lines: the loss, each constraint beside its threshold, its multiplier, the time left."""

import io
import itertools
import re
import sys

import pytest
from students import Shifted, gaussian

import unlearnlab as ul
from unlearnlab.training import progress

HOW = {"steps": 4, "primal_steps": 1, "batch": 8, "evaluate": False, "multipliers": [0.25]}
SEEN = r"loss -?[\d.]+; {name} [\d.e-]+ {sign} {asked}, λ [\d.]+"


class Terminal(io.StringIO):
    def isatty(self):
        return True


def problem(kind):
    q, q1 = gaussian(0.0), gaussian(1.0)
    return ul.ReverseKL(q, [q1], [2.0]) if kind == "ru" else ul.Likelihood(q, [q1], [0.5])


@pytest.mark.parametrize(
    ("kind", "name", "sign", "asked"), [("ru", r"KL\(p‖q_i\)", "≥", "2"), ("lu", ".*", "≤", "0.5")]
)
def test_a_bar_shows_where_a_run_stands(monkeypatch, kind, name, sign, asked):
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("COLUMNS", "300")
    how = HOW if kind == "ru" else HOW | {"sampling_steps": 2}
    ul.finetune(problem(kind), Shifted(), **how)
    shown = sys.stderr.getvalue()
    assert "4/4" in shown and re.search(SEEN.format(name=name, sign=sign, asked=asked), shown)


def test_off_a_terminal_a_line_a_minute_where_it_is_asked_for(capsys, monkeypatch):
    ul.finetune(problem("ru"), Shifted(), **HOW)
    ul.finetune(problem("ru"), Shifted(), progress=True, **HOW)  # over before a minute is
    assert capsys.readouterr().err == ""
    clock = itertools.count(0, 40)  # seconds between two looks at it
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    ul.finetune(problem("ru"), Shifted(), progress=True, **HOW)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "round 2 of 4, at most 01",
        "round 4 of 4, at most 00",
    ]
    told = SEEN.format(name=r"KL\(p‖q_i\)", sign="≥", asked="2")
    assert all(re.search(told, line) for line in lines)


def test_what_q_meets_already_is_said_first(capsys):
    q, forget = gaussian(0.0), [gaussian(2.0), gaussian(1.0)]
    how = HOW | {"multipliers": None, "progress": True}
    asked = ul.ReverseKL(q, forget, [1.0, 9.0])
    ul.finetune(asked, Shifted(), **how)
    assert capsys.readouterr().err == ""  # q's values are not measured for it
    asked.baseline()
    ul.finetune(asked, Shifted(), **how)
    (line,) = capsys.readouterr().err.splitlines()
    told = r"KL\(p‖q_i\) ≥ 1, constraint 0: q meets it already, by its ([\d.]+): nothing to do"
    assert float(re.fullmatch(told, line)[1]) == pytest.approx(2.0, abs=0.2)  # (2 − 0)²/2
    for asked in ({"thresholds": 0.0}, {"relative": 0.5}):
        ul.finetune(ul.ReverseKL(q, forget, **asked), Shifted(), **how)
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 2 and all(one.endswith("nothing to do") for one in lines)
    ul.finetune(ul.ReverseKL(q, forget, relative=1.5), Shifted(), **how)
    assert capsys.readouterr().err == ""
    held, missed = (lambda x: x[:, 0] < 0, 0.1), (lambda x: x[:, 0] > 0, 0.9)
    for functions, lines in (([held, missed], 0), ([held], 1)):  # one that is to be kept holds
        asked = ul.Moments(q, at_least=functions)
        asked.baseline()
        ul.finetune(asked, Shifted(), **how | {"sampling_steps": 2})
        assert len(capsys.readouterr().err.splitlines()) == lines


def test_of_several_students_and_of_none_to_constrain_the_loss_is_shown(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    net = ul.ScoreNetwork(1, width=4).fit(gaussian(0.0).sample(50), steps=2, batch=4)
    assert re.search(r"loss [\d.]+\]", sys.stderr.getvalue())
    q, q1 = gaussian(0.0), gaussian(1.0)
    problems = [ul.ReverseKL(q, [q1], [b]) for b in (1.0, 2.0)]
    how = HOW | {"multipliers": None, "sampling_steps": 2}
    ul.finetune(problems, net.stack(2), **how)
    assert "λ" not in sys.stderr.getvalue()
