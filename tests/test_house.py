"""Promises of the repository: README, environment, figures and imports agree with the code."""

import ast
import contextlib
import io
import json
import re
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

import unlearnlab as ul
from tools import numbers

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def example(page, number=0, language="python"):
    """A block of code on a page that starts as examples do."""
    first = "import unlearnlab" if language == "python" else "Solution"
    text = (ROOT / page).read_text()
    return re.findall(rf"```{language}\n({first}.*?)```", text, re.DOTALL)[number]


def test_readme_example_prints_what_it_shows():
    code, shown = example("README.md"), example("README.md", language="text")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(code, {})
    assert printed.getvalue() == shown


NUMBER = re.compile(r"\d+\.?\d*(?:e-?\d+)?")


def test_example_on_networks_prints_what_it_shows():
    """Trained numbers differ a little between machines; words and counts do not."""
    code, shown = (example("site/networks.md", language=one) for one in ("python", "text"))
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(code, {})
    assert NUMBER.sub("#", printed.getvalue()) == NUMBER.sub("#", shown)
    ours, theirs = (
        [float(n) for n in NUMBER.findall(text)] for text in (printed.getvalue(), shown)
    )
    assert ours[:-4] == pytest.approx(theirs[:-4], rel=0.02)  # the pool
    assert ours[-4:] == pytest.approx(theirs[-4:], rel=0.15)  # the trained student


def test_example_on_images_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = example("site/images.md")
    short = code.replace("lr=3e-4, steps=300", "steps=1, evaluate=False, progress=False")
    assert short != code
    exec(short, space := {})
    assert len(space["run"].multipliers) == 3 and space["back"].shape == (16, 1, 8, 8)
    assert (tmp_path / "student" / "model_index.json").exists()


def test_first_example_on_prompts_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = example("site/prompts.md")
    assert sum(bool(line) for line in code.splitlines()) <= 10
    short = code.replace("steps=200, batch=16", "steps=2, batch=2, evaluate=False, progress=False")
    assert short != code
    exec(short, {})
    assert (tmp_path / "no-horse" / "pytorch_lora_weights.safetensors").exists()
    assert (tmp_path / "cowboys.png").exists()
    stored = json.loads((ROOT / "figures" / "results" / "cowboys.json").read_text())
    assert stored["result"]["code"] == code, "the pictures are of other lines: make experiments"


def test_second_example_on_prompts_runs():
    """Its optimum on a smaller pool; the run in two steps."""
    code = example("site/prompts.md", 1)
    short = code.replace('"steps": 100, "batch": 32', '"steps": 2, "batch": 2, "evaluate": False')
    short = short.replace("pool=512", "pool=96")
    assert short.count("96") == 1 and '"steps": 2' in short
    exec(short, space := {})
    solution, run = space["solution"], space["run"]
    assert solution.certificate.ok and (solution.constraints[1:] >= [0.3 - 1e-8, 0.9 - 1e-8]).all()
    assert solution.constraints[0] <= 0.3 + 1e-8 and run.status == "unchecked"


def test_links_of_pages_exist():
    for page in numbers.pages():
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            if not target.startswith("https:") and not (page.parent / target).exists():
                assert (page.parent / target).name in ("lessons.md", "results.md"), target


def test_the_readme_fits_on_two_screens_and_its_numbers_are_the_stored_ones():
    assert len(README.splitlines()) <= 150
    manifest = numbers.known()
    marked = 0
    for page in numbers.pages():
        text = page.read_text()
        assert numbers.filled(text, manifest) == text, f"{page.name}: python -m tools.numbers"
        # Markdown takes a line that begins with a comment for HTML, to its end.
        assert not re.search(r"^ *<!--n", text, re.MULTILINE), f"{page.name}: a line begins so"
        marked += len(numbers.MARKED.findall(text))
    assert marked >= 15
    assert numbers.filled("<!--n figure1.png likelihood/objective .2f-->9<!--/n-->", manifest) == (
        "<!--n figure1.png likelihood/objective .2f-->0.31<!--/n-->"
    )


def test_import_is_light():
    """No Matplotlib, torch, SciPy or even NumPy until a name is used."""
    code = "import sys, unlearnlab; print(*sys.modules)"
    modules = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"numpy", "scipy", "matplotlib", "torch", "diffusers"} & set(modules)


def test_every_public_name_is_there_and_documented():
    for name in ul.__all__:
        assert getattr(ul, name).__doc__, name
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        ul.nonsense  # noqa: B018


def test_constraints_pin_what_pyproject_asks_for():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            name, version = line.split("==")
            pins[name.lower().replace("_", "-")] = version
    asked = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    for text in asked:
        requirement = Requirement(text)
        if requirement.name != "unlearnlab":
            version = pins[requirement.name.lower()]
            assert requirement.specifier.contains(Version(version)), text
    assert pins["torch"] == "2.13.0"


def test_conda_environment_agrees():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    python = next(d for d in environment["dependencies"] if str(d).startswith("python="))
    assert python.split("=")[1] == project["requires-python"].removeprefix(">=")
    pip = next(d["pip"] for d in environment["dependencies"] if isinstance(d, dict))
    assert pip == ["--constraint constraints.txt", "--editable .[test]"]


def test_figures_agree_with_the_code():
    """The numbers behind each figure are what the code computes today."""
    manifest = json.loads((ROOT / "figures" / "manifest.json").read_text())
    drawn = {path.name for path in (ROOT / "figures").glob("*.png")}
    assert drawn == set(manifest)
    sys.path.insert(0, str(ROOT))
    try:
        from figures.experiments import LEVELS, claim, comb_errors, figure1, paths, tradeoff
    finally:
        sys.path.remove(str(ROOT))
    for name, panel in figure1()["panels"].items():
        stored = manifest["figure1.png"]["numbers"][name]
        for key in ("objective", "mass left at |x| < 1.5", "KL(p‖kept)"):
            assert panel[key] == pytest.approx(stored[key], rel=1e-6), (name, key)
    for now, then in zip(claim()["rows"], manifest["claim.png"]["numbers"]["rows"], strict=True):
        assert now == pytest.approx(then, abs=1e-3)
    for now, then in zip(comb_errors(), manifest["comb.png"]["numbers"]["errors"], strict=True):
        assert now[:2] == then[:2] and now[3] == pytest.approx(then[3], rel=1e-6)
        assert max(now[2], then[2]) <= now[3]  # which comb is found may differ, not its bound
    for kind, panel in paths()["panels"].items():
        stored = manifest["paths.png"]["numbers"][kind]
        assert panel["objective on paths"] == pytest.approx(stored["objective on paths"], rel=1e-6)
        assert panel["states"]["x2"]["KL"] == pytest.approx(stored["KL at x2"], abs=1e-6)
    for kind, panel in tradeoff({kind: [levels[3]] for kind, levels in LEVELS.items()}).items():
        stored = manifest["tradeoff.png"]["numbers"][kind]
        for key in ("constrained", "equal, matched at the worst", "equal, matched in total"):
            assert panel[key][0] == pytest.approx(stored[key][3], abs=2e-4), (kind, key)


def test_the_stored_gaps_on_atoms_are_those_known_by_hand():
    """(0.300, 0.695, 0.005) against (0.69, 0.30, 0.01) at b = 2, split into 1, 2 and 3 parts."""
    manifest = json.loads((ROOT / "figures" / "manifest.json").read_text())
    at_two = {row[0]: row[2:] for row in manifest["atoms.png"]["numbers"]["rows"] if row[1] == 2}
    known = {1: [1.8274, 1.5187], 2: [1.4037, 1.2062], 3: [1.15987, 1.15987]}
    for k, values in known.items():
        assert at_two[k] == pytest.approx(values, abs=1e-4)


def test_saved_solutions_come_back(tmp_path):
    grid = ul.Grid(-6, 6, 300)
    q = ul.GaussianMixture([0.5, 0.5], [-2, 2], [0.7, 0.7]).on(grid)
    q1 = ul.GaussianMixture([1.0], [2], [0.7]).on(grid)
    for problem in (
        ul.ReverseKL(q, [q1], relative=1.5),
        ul.ForwardKL(q, [q1], relative=2.0, floor=20.0),
        ul.Likelihood(q, [q1], relative=0.2, temperature=2.0),
        ul.Likelihood(ul.Discrete([0.4, 0.6]), [ul.Discrete([0.1, 0.9])], [0.4]),
    ):
        solution = ul.solve(problem)
        again = ul.load(solution.save(tmp_path / "answer"))
        assert json.loads(json.dumps(solution.to_dict())) == again.to_dict() | {
            "space": json.loads(json.dumps(again.to_dict()["space"]))
        }
        assert (again.model.log_masses == solution.model.log_masses).all()
        assert type(again.problem) is type(problem)


# The structure of the code.

PACKAGE = ROOT / "unlearnlab"
SWITCHES = ("isinstance", "issubclass")
TORCH = re.compile(r"\.cpu\(\)|\.detach\(\)|\.effort\b|import torch")


def module_of(path):
    parts = ("unlearnlab", *path.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in PACKAGE.rglob("*.py")}


def imports(path):
    """Modules that a file imports, in functions and by name too; not those for types alone."""
    tree = ast.parse(path.read_text())
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    package = module_of(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            base = ".".join([*base, *(node.module or "").split(".")]).strip(".")
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                yield inner if inner in MODULES else base
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            named = node.args[0]
            if isinstance(named, ast.Constant):
                yield named.value


def test_no_two_files_import_each_other_in_a_circle():
    """By name at run time included. `unlearnlab/__init__.py` is the face, and imports on demand."""
    needs = {
        name: {one for one in imports(path) if one in MODULES and one != name} - {"unlearnlab"}
        for name, path in MODULES.items()
        if name != "unlearnlab"
    }
    assert "unlearnlab.diffusion.exact" in needs["unlearnlab.density.mixture"]  # by name
    while needs:
        free = [name for name, others in needs.items() if not others & needs.keys()]
        assert free, f"a circle among {sorted(needs)}"
        for name in free:
            del needs[name]


def test_no_type_switch_above_the_problems():
    """What differs between problems is asked of the problem."""
    kinds = {"ReverseKL", "ForwardKL", "Likelihood", "Moments"}
    for name, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in (
                "isinstance",
                "issubclass",
            ):
                asked = {word for word in re.findall(r"\w+", ast.unparse(node.args[1]))}
                assert not asked & kinds, f"{name}: {ast.unparse(node)}"


def test_nothing_below_the_grids_knows_of_torch():
    for name in ("problems", "dual", "newton", "certificate", "solution", "statistics", "identity"):
        for module, path in MODULES.items():
            if module.startswith(f"unlearnlab.{name}"):
                code = path.read_text()
                assert not re.search(r"\.cpu\(\)|\.detach\(\)|\.effort\b|import torch", code), (
                    module
                )


def test_a_formulation_without_a_training_objective_is_a_sentence():
    class Own(ul.Problem):
        evaluate = tabulate = dual = tilt = vertex_values = None

    try:
        from unlearnlab.training.objective import primal_dual

        with pytest.raises(TypeError, match="no objective for Own"):
            primal_dual(Own)
    finally:
        from unlearnlab.problems import base, registry

        del base.REGISTRY["Own"]
    with pytest.raises(ValueError, match="no problem called 'Own': import the module"):
        registry.registered("Own")


def test_the_code_reads_in_an_hour():
    """The files that the site names for it, at thirty lines a minute."""
    page = (ROOT / "site" / "code.md").read_text()
    hour = page[page.index("**In an hour**") : page.index("A training step of Algorithm D.3")]
    files = re.findall(r"\]\(\.\./(unlearnlab/[\w/]+\.py)\)", hour)
    lines = sum(len((ROOT / name).read_text().splitlines()) for name in files)
    assert len(files) == 8 and lines <= 60 * 30
