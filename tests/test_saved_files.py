"""Saved solutions: a file that was changed, damaged or cut off is refused, by name."""

import json
import os

import numpy as np
import pytest

import unlearnlab as ul
from unlearnlab.solution import digest

Q, A, B = (ul.Discrete(p) for p in ([0.5, 0.3, 0.2], [0.1, 0.1, 0.8], [0.3, 0.6, 0.1]))
RU, FU, LU = ul.ReverseKL, ul.ForwardKL, ul.Likelihood
KINDS = [RU, FU, LU]
GRID = ul.Grid(-8.0, 8.0, 401)


@pytest.fixture
def solved():
    return ul.solve(FU(Q, [A], 0.9))


@pytest.fixture
def saved(solved, tmp_path):
    return solved.save(tmp_path / "solution.npz")


def rewrite(path, change):
    """Write the file again after `change(arrays, header)`, with a digest that fits."""
    with np.load(path) as file:
        arrays = {key: file[key] for key in file.files}
    header = json.loads(str(arrays["header"]))
    del header["sha256"]
    change(arrays, header)
    if "header" in arrays:
        del arrays["header"]
        arrays["header"] = np.array(json.dumps(header | {"sha256": digest(arrays, header)}))
    np.savez(path, **arrays)


def moved(arrays, name):
    """Masses of one model, a thousandth part moved from the first atom to the last."""
    p = np.exp(arrays[name])
    arrays[name] = np.log(p + 1e-3 * np.array([-p[0], 0, p[0]]))


TAMPERINGS = {
    "model": lambda a, h: moved(a, "model.log_masses"),
    "retain": lambda a, h: moved(a, "retain.log_masses"),
    "forget": lambda a, h: moved(a, "compared0.log_masses"),
    "NaN": lambda a, h: a["model.log_masses"].fill(np.nan),
    "short": lambda a, h: a.update({"model.log_masses": np.log([0.5, 0.5])}),
    "unnormalised": lambda a, h: a["model.log_masses"].__iadd__(0.1),
    "multipliers": lambda a, h: h["multipliers"].__setitem__(0, h["multipliers"][0] / 2),
    "certificate": lambda a, h: h["certificate"].update(primal=h["certificate"]["primal"] / 2),
    "thresholds": lambda a, h: h["thresholds"].__setitem__(0, 0.5),
    "certificate without a number": lambda a, h: h["certificate"].update(primal=None),
    "no certificate": lambda a, h: h.pop("certificate"),
    "no model": lambda a, h: a.pop("model.log_masses"),
    "no header": lambda a, h: a.pop("header"),
    "problem": lambda a, h: h.update(problem="Reverse"),
    "option": lambda a, h: h.update(options={"depth": 3}),
    "format": lambda a, h: h.update(format=99),
    "space": lambda a, h: h.update(space={"low": [0]}),
}


@pytest.mark.parametrize("change", TAMPERINGS.values(), ids=TAMPERINGS.keys())
@pytest.mark.parametrize("kind", [FU, LU])
def test_a_tampered_file_is_refused(tmp_path, change, kind):
    path = ul.solve(kind(Q, [A], 0.9 if kind is FU else 0.2)).save(tmp_path / "solution.npz")
    assert ul.load(path).certificate.ok
    rewrite(path, change)
    with pytest.raises(ValueError, match=r"solution\.npz"):
        ul.load(path)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("masses", [[np.nan] * 3, np.log([0.6, 0.3, 0.2])])
def test_a_damaged_inactive_solution_is_refused(tmp_path, kind, masses):
    # Nothing moved, so primal and dual are zero: the densities must be looked at themselves.
    path = ul.solve(kind(Q, [A], 1.0 if kind is LU else 0.1)).save(tmp_path / "solution.npz")
    rewrite(path, lambda a, h: a["model.log_masses"].__setitem__(slice(None), masses))
    with pytest.raises(ValueError, match=r"solution\.npz"):
        ul.load(path)


@pytest.mark.parametrize(
    "content",
    [b"", b"hello", b"PK\x03\x04 and no more", lambda whole: whole[: len(whole) // 2]],
    ids=["empty", "text", "zip header", "truncated"],
)
def test_a_file_that_is_no_solution_is_refused(saved, content):
    saved.write_bytes(content(saved.read_bytes()) if callable(content) else content)
    with pytest.raises(ValueError, match=r"solution\.npz is not a saved solution"):
        ul.load(saved)


def test_a_foreign_archive_is_refused(tmp_path):
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    with pytest.raises(ValueError, match=r"other\.npz is not a saved solution"):
        ul.load(tmp_path / "other.npz")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.npz"):
        ul.load(tmp_path / "none.npz")


def test_saving_to_a_missing_folder_leaves_nothing_behind(solved, tmp_path):
    with pytest.raises(FileNotFoundError, match="missing"):
        solved.save(tmp_path / "missing" / "solution.npz")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("module", "name"), [(os, "replace"), (np, "savez_compressed")])
@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_an_interrupted_save_keeps_the_old_file(solved, saved, monkeypatch, module, name, error):
    before = saved.read_bytes()

    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(module, name, fail)
    with pytest.raises(type(error)):
        solved.save(saved)
    monkeypatch.undo()
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == ["solution.npz"]
    assert ul.load(saved).certificate.ok


def test_what_is_not_computed_is_not_believed(tmp_path):
    """The objective at twice the floor is the problem's, whatever the file says."""
    q, q1 = (ul.GaussianMixture([1], [mean], [1]).on(GRID) for mean in (0, 2))
    solution = ul.solve(FU(q, [q1], relative=4.0))
    assert solution.certificate.regime == "contact"
    path = solution.save(tmp_path / "solution.npz")
    rewrite(path, lambda a, h: h.update(objective_at_twice_floor=7.0))
    found = ul.load(path).objective_at_twice_floor
    assert found == pytest.approx(solution.objective_at_twice_floor, rel=1e-12)


@pytest.mark.parametrize("change", [lambda a, h: h.update(more=1), lambda a, h: h.pop("sha256")])
def test_edited_fields_are_refused(saved, change):
    with np.load(saved) as file:
        arrays = {key: file[key] for key in file.files}
    header = json.loads(str(arrays["header"]))
    change(arrays, header)
    np.savez(saved, **arrays | {"header": np.array(json.dumps(header))})
    with pytest.raises(ValueError, match=r"solution\.npz is not a saved solution, or is damaged"):
        ul.load(saved)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("threshold", [5e-324, 1e-310])
def test_thresholds_that_are_hardly_numbers(threshold):
    for kind in (RU, FU):
        assert ul.solve(kind(Q, [A], threshold)).certificate.regime == "inactive"
    with pytest.raises(ValueError, match="thresholds of Likelihood must be at least 1e-300, for t"):
        LU(Q, [A], threshold)
