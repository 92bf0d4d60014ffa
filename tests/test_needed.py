"""Which cells a grader leaves out of a lesson."""

import nbformat
import pytest

from unlearnlab.teaching.needed import binds, reads, skipped


def cells(*sources):
    """Code cells; a first word of `slow:` or `answer:` sets the tag, or nbgrader's metadata."""
    found = []
    for source in sources:
        kind = next((one for one in ("slow", "answer") if source.startswith(f"{one}: ")), "")
        cell = nbformat.v4.new_code_cell(source.removeprefix(f"{kind}: "))
        if kind == "slow":
            cell.metadata["tags"] = ["slow"]
        if kind == "answer":
            cell.metadata["nbgrader"] = {"solution": True}
        found.append(cell)
    return found


def test_what_cells_bind_and_read():
    cell = "import a.b as c\nd = e\nf = d + d\ndef g(h):\n    return h + i(d)\n[j for j in k]"
    assert binds(cell) == {"c", "d", "f", "g"}
    assert reads(cell) == {"e", "i", "k"}
    assert reads("def f():\n    return (lambda: a)()\nb = b + 1") == {"a", "b"}


@pytest.mark.parametrize(
    ("sources", "left"),
    [
        (("a = 1", "slow: b = a", "answer: c = a"), {1}),  # nobody asks
        (("slow: b = 1", "print(b)", "answer: c = 2"), {0, 1}),  # nor for what follows from it
        (("slow: b = 1", "d = b", "answer: c = d"), set()),  # a student starts from it
        (("slow: b = 1", "slow: d = b", "slow: e = b", "answer: c = d"), {2}),
        (("slow: b = 1", "b = 2", "print(b)", "answer: c = b"), {0}),  # bound anew
        (("slow: b = 1", "def f(): return b", "answer: c = f()"), set()),
        (("slow: b = 1", "answer: c = b", "print(c)"), set()),
        (("answer: c = b", "slow: b = 1"), {1}),  # too late for it
        (("slow: b = 1", "answer: c = (", "answer: d = 1"), {0}),  # no Python
        (("slow: %%cuda\nb = 1", "print(b)", "answer: c = 1"), {0, 1}),
    ],
)
def test_training_is_left_out_unless_an_answer_needs_it(sources, left):
    assert skipped(cells(*sources)) == left


def test_text_is_no_code():
    notebook = [nbformat.v4.new_markdown_cell("b = ("), *cells("slow: b = 1", "answer: c = b")]
    assert skipped(notebook) == set()
