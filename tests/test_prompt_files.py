"""Prompts in CSV files as spreadsheets write them: whole prompts, or an error with its line."""

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unlearnlab.stable_diffusion.config import Config
from unlearnlab.stable_diffusion.fields import BLANK
from unlearnlab.stable_diffusion.prompt_file import ROLES, read_prompts

PLAIN = "role,prompt\nretain,a cowboy\nforget,a horse\n"
NIGHT = {"retain": ["a cowboy, at night"], "forget": ["a horse; fast"], "unrelated": []}


def written(folder, data):
    path = folder / "p.csv"
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


@pytest.mark.parametrize(
    "data",
    [
        'role,prompt\nretain,"a cowboy, at night"\nforget,a horse; fast\n',
        'role,prompt\r\nretain,"a cowboy, at night"\r\nforget,"a horse; fast"\r\n',
        'role;prompt\nretain;a cowboy, at night\nforget;"a horse; fast"\n',
        "role\tprompt\nretain\ta cowboy, at night\nforget\ta horse; fast",
        'sep=;\nrole;prompt\nretain;a cowboy, at night\nforget;"a horse; fast"\n',
        'Role, Prompt\nRetain, "a cowboy, at night"\nFORGET, a horse; fast\n\n,\n',
        '\nprompt,note,role\n"a cowboy, at night",x,retain\na horse; fast,,forget\n',
        'role,prompt,\nretain,"a cowboy, at night",\nforget,a horse; fast,\n,,\n',
        '"role","prompt"\r"retain","a cowboy, at night"\r"forget","a horse; fast"',
    ],
)
@pytest.mark.parametrize("coding", ["utf-8", "utf-8-sig", "utf-16"])
def test_what_spreadsheets_write_is_read(tmp_path, data, coding):
    assert read_prompts(written(tmp_path, data.encode(coding))) == NIGHT


def test_quotes_and_other_letters_are_kept(tmp_path):
    data = (
        'role,prompt\nretain,"a ""big"" café"\nforget,a 5" ruler\nunrelated,\u201cc\u2028d\u201d\n'
    )
    found = read_prompts(written(tmp_path, data))
    assert found["retain"] == ['a "big" café'] and found["forget"] == ['a 5" ruler']
    assert found["unrelated"] == ["\u201cc\u2028d\u201d"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("role,prompt\nretain,a cowboy, at night\n", "line 2 .* has 3 fields .* in quotes"),
        (PLAIN + "forget,a horse,\n", "line 4 .* has 3 fields"),
        (PLAIN + "forget\n", "line 4 .* has 1 fields and there are 2 columns"),
        ("role;prompt\nretain;a; b\n", "line 2 .* has 3 fields"),
        (PLAIN + 'forget,"a horse\n\nunrelated,a tree\n', "row from line 4 .* is not CSV"),
        (PLAIN + 'forget,"a horse" fast\n', "row from line 4 .* is not CSV"),
        (PLAIN + 'forget,"a horse\nfast"\n', "prompt in line 4 .* must be one line"),
        (PLAIN + "forget,a\u200b horse\n", r"prompt in line 4 of .* has U\+200B .*acter 2"),
        (PLAIN + "forget,a\x00horse\n", r"prompt in line 4 .* has U\+0000 .* as character 2"),
        (PLAIN + "forget,\n", "line 4 .* has no prompt"),
        (PLAIN + "\n\nforgot,a tree\n", "role in line 6 .*did you mean 'forget'"),
        (PLAIN + ",a tree\n", "role in line 4 .*; got ''"),
        ("role,prompt,\nretain,a cowboy,x\n", "line 2 .* 'x' in a column without a name"),
        ("role,prompt,prompt\nretain,a,b\n", "columns role and prompt, once each"),
        ("role|prompt\nretain|a\n", r"columns role and prompt.* names role\|prompt"),
        ("retain,a cowboy\nforget,a horse\n", "names retain, a cowboy"),
        ("role,prompt\n", "columns role and prompt, once each, and rows below"),
        ("", "names nothing"),
        ("\n\n", "names nothing"),
        ("sep=|\nrole|prompt\n", "line 1 of .* must be sep="),
        (b"role,prompt\nretain,caf\xe9\n", "line 2 of .*p.csv is not UTF-8: it has the byte 0xe9"),
        (b"role,prompt\nretain,a\nforget,\x93b\x94\n", "line 3 of .*p.csv is not UTF-8"),
        ("role,prompt\n".encode("utf-16") + b"a", "is not UTF-16"),
        ("role,prompt\n".encode("utf-16-le"), "columns role and prompt"),
        ("role,prompt\nretain," + "a" * 200_000 + "\n", "row from line 2 .* is not CSV"),
        (b"PK\x03\x04\x14\x00\x06\x00\xff\x9c", "line 1 of .*p.csv is not UTF-8"),
    ],
)
def test_files_that_are_refused_by_line(tmp_path, data, message):
    with pytest.raises(ValueError, match=message) as caught:
        read_prompts(written(tmp_path, data))
    assert "p.csv" in str(caught.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("role,prompt\nretain,a\nretain,b\nforget,c\n", "one row to retain; it has 2"),
        ("role,prompt\nforget,c\n", "one row to retain; it has 0"),
        ("role,prompt\nretain,a\nunrelated,c\n", "at least one to forget"),
        (
            "role,prompt\nretain,a\nforget,c\nforget,c\n",
            r"forget\[1\] is forget\[0\] again; got 'c'",
        ),
        ("role,prompt\nretain,a\nforget,c\nforget,d\n", "one for each of 2 prompts"),
    ],
)
def test_prompts_that_make_no_run(tmp_path, data, message):
    path = str(written(tmp_path, data))
    with pytest.raises(ValueError, match=message):
        Config("tiny", "reverse-kl", "o", prompts=path, thresholds=[8.0])


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none.csv' is no file"):
        read_prompts(tmp_path / "none.csv")


WORDS = st.text(
    st.characters(exclude_categories=("Cc", "Cf", "Cs"), exclude_characters=BLANK)
    | st.sampled_from(",;\t\"' "),
    min_size=1,
).filter(lambda word: word.strip() == word and "\t" not in word)


@settings(max_examples=200, deadline=None)
@given(
    rows=st.lists(st.tuples(st.sampled_from(ROLES), WORDS), min_size=1, max_size=5),
    delimiter=st.sampled_from(",;\t"),
    ends=st.sampled_from(["\n", "\r\n"]),
    coding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_any_table_of_prompts_comes_back(tmp_path_factory, rows, delimiter, ends, coding, quoting):
    file = io.StringIO(newline="")
    writer = csv.writer(file, delimiter=delimiter, lineterminator=ends, quoting=quoting)
    writer.writerows([("role", "prompt"), *rows])
    path = written(tmp_path_factory.getbasetemp(), file.getvalue().encode(coding))
    found = read_prompts(path)
    assert found == {role: [text for own, text in rows if own == role] for role in ROLES}


@settings(max_examples=300, deadline=None)
@given(tail=st.binary(max_size=30) | st.text(max_size=30).map(str.encode))
def test_any_bytes_are_read_or_refused_by_line(tmp_path_factory, tail):
    path = written(tmp_path_factory.getbasetemp(), PLAIN.encode() + tail)
    try:
        found = read_prompts(path)
    except ValueError as error:
        assert "line " in str(error) and "p.csv" in str(error)
        return
    assert found["retain"][0] == "a cowboy" and found["forget"][0] == "a horse"
    assert all(text and "\0" not in text for texts in found.values() for text in texts)
