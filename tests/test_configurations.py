"""Configurations as people write them: the right values, or an error that names the field."""

import re

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from sd_runs import GOOD, written

import unlearnlab as ul
from unlearnlab.stable_diffusion.config import CHECKS, Config
from unlearnlab.training.multipliers import Multipliers
from unlearnlab.training.settings import Settings

OPTIONS = "options: {steps: 3, batch: 4}"


@pytest.mark.parametrize(
    ("change", "name", "value"),
    [
        (("[a horse, a cactus]", "a horse"), "forget", ["a horse"]),
        (("[a horse, a cactus]", "\n- a horse\n- ' a cactus '"), "forget", ["a horse", "a cactus"]),
        (("out:", "unrelated: a tree\nout:"), "unrelated", ["a tree"]),
        (("0.2", "2e-1"), "relative", 0.2),
        (("0.2", "[1e-1, .2]"), "relative", [0.1, 0.2]),
        (("out:", "samples: 1e1\nout:"), "samples", 10),
        (("out:", "cap: 1e3\nout:"), "cap", 1000.0),
        (("out:", "temperature: 2\nout:"), "temperature", 2.0),
        (("a cowboy", "|\n  a cowboy"), "retain", "a cowboy"),
        (("a cowboy", "'2024'"), "retain", "2024"),
        ((OPTIONS, "options: {lr: 1e-4}"), "options", {"lr": 1e-4}),
        (
            (OPTIONS, "options: {dual_lr: 5e3, clip: null}"),
            "options",
            {"dual_lr": 5e3, "clip": None},
        ),
        ((OPTIONS, "options: {sampling_steps: 1e1}"), "options", {"sampling_steps": 10}),
        (("out:", "method: gate\nout:"), "method", "gate"),
        (("out:", "seed: 010\nout:"), "seed", 10),
        (("out:", "seed: 1_000\nout:"), "seed", 1000),
        (("out:", "seed: 9007199254740993\nout:"), "seed", 2**53 + 1),
        (("a cowboy", "10:30"), "retain", "10:30"),
        (("a cowboy", "\U0001f469\u200d\U0001f680"), "retain", "\U0001f469\u200d\U0001f680"),
        (("a cowboy", "می\u200cخواهم"), "retain", "می\u200cخواهم"),
    ],
)
def test_values_are_read_as_they_are_meant(tmp_path, change, name, value):
    text = GOOD.replace(*change)
    assert text != GOOD
    found = getattr(Config.load(written(tmp_path, text)), name)
    assert found == value and type(found) is type(value)


CUT = [
    (("retain: a cowboy", "retain: a cowboy #1"), 4, "a cowboy", "#1"),
    (("a cactus]", "a cactus  # the tall one\n  ]"), 5, "a cactus", "# the tall one"),
    (("[a horse, a cactus]", "\n- a horse\n- a cactus #2\r"), 7, "a cactus", "#2"),
    (("out:", "reference: a #b\nout:"), 7, "a", "#b"),
]


@pytest.mark.parametrize(("change", "line", "prompt", "comment"), CUT)
@pytest.mark.parametrize("coding", ["utf-8-sig", "utf-16"])
def test_a_prompt_that_a_comment_cuts_is_said(tmp_path, change, line, prompt, comment, coding):
    text = GOOD.replace(*change).encode(coding)
    with pytest.warns(UserWarning) as said:
        Config.load(written(tmp_path, text))
    told = f"run.yaml' asks for {prompt!r}: YAML takes {comment!r} for a comment; a prompt with #"
    assert len(said) == 1 and told in str(said[0].message)
    assert str(said[0].message).startswith(f"line {line} of ")


@pytest.mark.parametrize("text", ['"a cowboy #1" # his', "|\n  a cowboy #1\n# his", "a cowboy#1"])
def test_a_prompt_that_is_whole_is_not_warned_of(tmp_path, recwarn, text):
    config = Config.load(written(tmp_path, "# first\n" + GOOD.replace("a cowboy", text)))
    assert re.fullmatch("a cowboy ?#1", config.retain) and not recwarn.list


@pytest.mark.parametrize("coding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings_that_say_what_they_are(tmp_path, coding):
    text = GOOD.replace("a cowboy", "a café").encode(coding)
    assert Config.load(written(tmp_path, text)).retain == "a café"


def test_paths_are_read_as_a_shell_reads_them(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SCRATCH", str(tmp_path / "scratch"))
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "p.csv").write_text("role,prompt\nretain,a cowboy\nforget,a horse\n")
    prompts = "retain: a cowboy\nforget: [a horse, a cactus]\n"
    for out, found in (("~/runs", "home/runs"), ("${SCRATCH}/a b", "scratch/a b")):
        text = GOOD.replace("runs/cowboy", out).replace(prompts, "prompts: ~/p.csv\n")
        config = Config.load(written(tmp_path, text))
        assert config.out == str(tmp_path / found) and config.forget == ["a horse"]


REFUSED = [
    (("a cowboy", "no"), "retain must be text; got False"),
    (("a cowboy", "2024"), "retain must be text; got 2024.*in quotes"),
    (("a cowboy", "2024-01-01"), "retain must be text"),
    (("a cowboy", ""), "retain must be text; got None"),
    (("a cowboy", "[a cowboy]"), r"retain must be text; got \['a cowboy'\]"),
    (("a cowboy", '"  "'), "needs a prompt to retain"),
    (("a cowboy", '"a\\nb"'), "retain must be one line"),
    (("a cowboy", '"a\\0b"'), r"retain has U\+0000 \(a control character\) as character 2"),
    (("a cowboy", "a cow\u200bboy"), r"retain has U\+200B \(ZERO WIDTH SPACE\) as character 6"),
    (("a cowboy", '"\\ufeffa cowboy"'), r"retain has U\+FEFF .* as character 1"),
    (("a cowboy", '"a\\u200dcowboy"'), r"retain has U\+200D .* as character 2"),
    (("[a horse, a cactus]", "[a horse, a\u3164cactus]"), r"forget\[1\] has U\+3164 .*r 2"),
    (("out:", 'reference: "a\\u00adb"\nout:'), r"reference has U\+00AD \(SOFT HYPHEN\)"),
    (("[a horse, a cactus]", "[a horse, no]"), r"forget\[1\] must be text; got False"),
    (("[a horse, a cactus]", "{a horse: 1}"), "forget must be a text or a list"),
    (("[a horse, a cactus]", "[]"), "at least one to forget"),
    (("[a horse, a cactus]", "[a horse, '']"), r"forget\[1\] is empty"),
    (("[a horse, a cactus]", "[a horse, a horse]"), r"forget\[1\] is forget\[0\] again"),
    (("out:", "unrelated: [a dog, a cactus]\nout:"), r"unrelated\[1\] is forget\[1\] again"),
    (("out:", "unrelated: a cowboy\nout:"), r"unrelated\[0\] is the prompt to retain"),
    (("[a horse, a cactus]", "a cowboy"), r"forget\[0\] is the prompt to retain"),
    (("relative: 0.2", "relative: [0.2]"), "relative must be one number, or one for each of 2"),
    (("relative: 0.2", "relative: -0.2"), "relative must not be negative; got -0.2"),
    (("relative: 0.2", "relative: much"), "relative must be a finite number; got 'much'"),
    (("relative: 0.2", "relative: .nan"), "relative must be a finite number; got nan"),
    (("relative: 0.2", "relative: yes"), "relative must be a finite number; got True"),
    (("relative: 0.2", "relative: 0.2\nthresholds: 1"), "give either thresholds or relative"),
    (("relative: 0.2\n", ""), "give either thresholds or relative"),
    (("out:", "samples: 0\nout:"), "samples must be a whole number of at least 1; got 0"),
    (("out:", "samples: 2.5\nout:"), "samples must be a whole number of at least 1; got 2.5"),
    (("out:", "samples: many\nout:"), "samples must be a finite number; got 'many'"),
    (("out:", "sample_steps: -1\nout:"), "sample_steps must be a whole number"),
    (("out:", "sample_guidance: .inf\nout:"), "sample_guidance must be a finite number"),
    (("out:", "guidance: -1\nout:"), "guidance must not be negative; got -1"),
    (("out:", "rank: 0\nout:"), "rank must be a whole number of at least 1; got 0"),
    (("out:", "seed: 1:30\nout:"), "seed must be a finite number; got '1:30'"),
    (("out:", "seed: 0x10\nout:"), "seed must be a finite number; got '0x10'"),
    (("0.2", "1:30.5"), "relative must be a finite number; got '1:30.5'"),
    (("out:", "seed: 18446744073709551616\nout:"), "seed must be a whole number of at most 92"),
    ((OPTIONS, "options: {steps: 1e30}"), "steps must be a whole number of at most 92"),
    (("out: runs/cowboy", "out: ''"), "out is empty"),
    (("model: tiny", "model: ' '"), "model is empty"),
    (("out: runs", "out: $NO_SUCH/runs"), "out '.NO_SUCH/.* names a home or a variable that is"),
    (("out: runs", "out: ~no-such-user/runs"), "out '~no-such-user/.* names a home or a"),
    (("out:", "seed: x\nout:"), "seed must be a finite number; got 'x'"),
    (("out:", "grid_every: -5\nout:"), "grid_every must be a whole number of at least 0"),
    (("out:", "cap: 0\nout:"), "cap must be positive; got 0"),
    (("out:", "temperature: dimension\nout:"), "temperature must be a finite number"),
    (("out:", "statistic: ratios\nout:"), "statistic must be one of .*did you mean 'ratio'"),
    (("out:", "statistic: density\nreference: a\nout:"), "reference is of statistic ratio"),
    (("likelihood", "reverse-kl\ntemperature: 2"), "temperature is of problem likelihood"),
    (("out:", "method: primal\nout:"), "method must be one of .*did you mean 'primal-dual'"),
    (("out:", "dtype: float32\ndtype: float16\nout:"), "has 'dtype' again in line 8"),
    (("model: tiny", "model: 3"), "model must be text; got 3"),
    (("out: runs/cowboy", "out: 3"), "out must be text; got 3"),
    (("out:", "prompts: p.csv\nout:"), "prompts in a file, or retain, forget and unrelated"),
    (("out:", "1: 2\nout:"), "key in .*; got 1"),
    ((OPTIONS, "options: [1]"), r"options must hold keys and values; got \[1\]"),
    ((OPTIONS, "options:"), "options must hold keys and values; got None"),
    ((OPTIONS, "options: {step: 3}"), "option must be .*got 'step'; did you mean 'steps'"),
    ((OPTIONS, "options: {lr: fast}"), "options: lr must be a finite number; got 'fast'"),
    ((OPTIONS, "options: {lr: 0}"), "options: lr must be positive; got 0"),
    ((OPTIONS, "options: {lr: null}"), "options: lr must be a finite number; got None"),
    ((OPTIONS, "options: {steps: 0}"), "options: steps must be a whole number of at least 1"),
    ((OPTIONS, "options: {batch: 1.5}"), "options: batch must be a whole number"),
    ((OPTIONS, "options: {average: 1}"), r"options: average must lie in \[0.0, 1.0\)"),
    ((OPTIONS, "options: {accumulation: 0}"), "options: accumulation must be a whole number"),
    ((OPTIONS, "options: {evaluate: 'no'}"), "options: evaluate must be true or false"),
    ((OPTIONS, "options: {sampler: euler}"), "options: sampler must be one of ddim, ddpm"),
    ((OPTIONS, "options: {sampling_steps: 1}"), "options: sampling_steps must be a whole number"),
    ((OPTIONS, "options: {seed: 3}"), "option must be one of .*; got 'seed'"),
    ((OPTIONS, "options: {data: 3}"), "option must be one of .*; got 'data'"),
    ((GOOD, "[" * 5000), "is not YAML"),
    ((GOOD, "a\x00b"), "is not YAML"),
    ((GOOD, b"model: caf\xe9"), "line 1 of .*run.yaml is not UTF-8: it has the byte 0xe9"),
]


@pytest.mark.parametrize(("change", "message"), REFUSED)
def test_values_that_are_refused(tmp_path, change, message):
    text = change[1] if change[0] == GOOD else GOOD.replace(*change)
    assert text != GOOD
    with pytest.raises(ValueError, match=message) as caught:
        Config.load(written(tmp_path, text))
    assert "run.yaml" in str(caught.value)


@pytest.mark.parametrize("name", ["lr", "clip", "average", "warmup"])
def test_a_setting_that_is_text_is_named(name):
    with pytest.raises(TypeError, match=rf"{name} must be a number; got '1e-4' \(YAML reads 1e-4"):
        Settings(**{"steps": 10, "lr": 1e-3, "seeds": [0]} | {name: "1e-4"})
    with pytest.raises(ValueError, match=f"{name} must .*got nan"):
        Settings(**{"steps": 10, "lr": 1e-3, "seeds": [0]} | {name: float("nan")})


def test_a_dual_rate_that_is_text_is_named():
    q, q1 = (ul.GaussianMixture([1], [mean], [1]).diffused() for mean in (0, 1))
    problem = ul.ReverseKL(q, [q1], [1.0])
    with pytest.raises(TypeError, match="dual_lr must be a number; got '1e-4'"):
        Multipliers([problem], problem.thresholds[None], torch.device("cpu"), dual_lr="1e-4")


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=4,
)


@settings(max_examples=300, deadline=None)
@given(name=st.sampled_from(sorted(CHECKS)), value=ANYTHING)
def test_any_value_of_any_field_is_read_or_refused_by_name(tmp_path_factory, name, value):
    """What is taken is of the kind that the class promises, and taken again as it is."""
    folder = tmp_path_factory.getbasetemp()
    given_ = yaml.safe_load(GOOD) | {name: value}
    path = written(folder, yaml.safe_dump(given_, allow_unicode=True))
    try:
        config = Config.load(path)
    except (ValueError, FileNotFoundError) as error:
        said = str(error)
        assert "run.yaml" in said and name.removesuffix("s") in said
        return
    again = {one: getattr(config, one) for one in CHECKS}
    assert Config(**again) == config
    promised = Config.__annotations__[name]  # such as "bool | None"
    kind = type(getattr(config, name)).__name__.removesuffix("Type")
    assert promised == "Any" or kind in re.findall(r"\w+", promised)
    assert all(isinstance(one, str) and one for one in config.forget) and config.samples >= 1
