"""The instructors' kit: a plan that adds up, questions in order, and links that lead somewhere."""

import itertools
import re
from pathlib import Path

import pytest

from tools import slides

TUTORIALS = Path(__file__).parent.parent / "tutorials"
KIT = TUTORIALS / "kit"
INSTRUCTORS = (TUTORIALS / "INSTRUCTORS.md").read_text(encoding="utf-8")
PLAN = (KIT / "board_plan.md").read_text(encoding="utf-8")
TIMES = re.compile(r"^\| (\d+)–(\d+) \| ([\d–]*) ?\|(.*)$", re.MULTILINE)


def span(text):
    """Numbers in "4", "5–6" or "": none, one, or all between."""
    ends = [int(number) for number in re.findall(r"\d+", text)]
    return list(range(ends[0], ends[-1] + 1)) if ends else []


def test_the_plan_fills_ninety_minutes_and_shows_every_slide():
    rows = [(int(a), int(b), span(shown), rest) for a, b, shown, rest in TIMES.findall(PLAN)]
    assert rows[0][0] == 0 and rows[-1][1] == 90
    for one, other in itertools.pairwise(rows):
        assert one[1] == other[0]
    slack = sum(end - start for start, end, _, rest in rows if rest.startswith(" slack"))
    assert slack == 13 and "thirteen minutes of slack" in INSTRUCTORS
    optional = span(re.search(r"^Slides ([\d–]+) are for", PLAN, re.MULTILINE)[1])
    shown = sorted([number for row in rows for number in row[2]] + optional)
    count = sum(
        cell.metadata.get("slideshow", {}).get("slide_type") == "slide"
        for cell in slides.nbformat.read(slides.SESSION, as_version=4).cells
    )
    assert shown == list(range(1, count + 1))


def test_the_short_plan_and_the_pilot_sheet_keep_to_the_board_plan():
    starts = {int(start) for start, *_ in TIMES.findall(PLAN)} | {90}
    session = INSTRUCTORS.split("## One session")[1].split("## A unit")[0]
    short = re.findall(r"^\| (\d+)–(\d+) \|", session, re.MULTILINE)
    assert len(short) == 6 and {int(end) for row in short for end in row} <= starts
    blocks = (KIT / "pilot.md").read_text(encoding="utf-8").split("## An exercise")[0]
    timed = re.findall(r"^\| [A-Z][^|]+ \| (\d+) \|", blocks, re.MULTILINE)
    assert len(timed) == 11 and {int(start) for start in timed} <= starts


def test_the_quiz_follows_the_lessons_and_asks_about_each():
    quiz = INSTRUCTORS.split("## Quiz")[1].split("\n## ")[0]
    found = re.findall(r"^(\d+)\. \[(\d\d)\] \*.+?\?\* \S.*[.)?]$", quiz, re.MULTILINE)
    assert [int(number) for number, _ in found] == list(range(1, 31))
    lessons = [lesson for _, lesson in found]
    assert lessons == sorted(lessons) and set(lessons) == {f"{n:02}" for n in range(18)}
    assert [n for n, lesson in found if lesson <= "03"][-1] == "8"  # as the quiz's first line says


def test_the_quiz_of_the_session_is_of_lessons_that_it_teaches():
    lesson_of = dict(re.findall(r"^(\d+)\. \[(\d\d)\]", INSTRUCTORS, re.MULTILINE))
    named = "uiz questions 2, 7 and 11"
    assert named in PLAN and named in INSTRUCTORS
    assert [lesson_of[n] for n in ("2", "7", "11")] == ["01", "03", "04"]
    pilot = (KIT / "pilot.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| quiz (\d+)", pilot, re.MULTILINE) == ["2", "7", "11"]


def test_each_lesson_has_two_or_more_wrong_answers_and_a_question():
    table = INSTRUCTORS.split("## Lesson by lesson")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (\d\d) \| (.+?) \| (.+?) \| (.+?) \|$", table, re.MULTILINE)
    assert [row[0] for row in rows] == [f"{n:02}" for n in range(18)]
    for lesson, wrong, skip, question in rows:
        assert len(re.findall(r"\b\d: ", wrong)) >= 2, lesson
        assert skip and question.endswith("?"), lesson


@pytest.mark.parametrize(
    "path", [TUTORIALS / "INSTRUCTORS.md", *sorted(KIT.glob("*.md"))], ids=lambda path: path.name
)
def test_links_lead_to_files(path):
    links = re.findall(r"\]\(([^)#]+)\)", path.read_text(encoding="utf-8"))
    local = [link for link in links if not link.startswith("https:")]
    assert local
    for link in local:
        assert (path.parent / link).exists(), link
