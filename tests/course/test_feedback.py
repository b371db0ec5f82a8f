"""The pages that students and instructors read."""

import re
from html.parser import HTMLParser

import pytest
import toy_assignment

from minivit.course.assignment import Assignment
from minivit.course.classroom import answers, feedback, overview

OPEN = {"br", "meta", "rect", "text", "hr", "img"}  # the first, and those of SVG, close themselves


class Tags(HTMLParser):
    """Fails where a tag is closed that is not the last one open."""

    def __init__(self):
        super().__init__()
        self.stack, self.seen = [], set()

    def handle_starttag(self, tag, attrs):
        self.seen |= {tag, *(f"{tag}.{name}" for name, _ in attrs)}
        if tag not in OPEN - {"text"}:
            self.stack.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.add(tag)

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag


def tags(page: bytes) -> set[str]:
    parser = Tags()
    parser.feed(page.decode("utf-8"))
    assert parser.stack == []
    return parser.seen


@pytest.fixture
def assignment(tmp_path):
    return Assignment(toy_assignment.toy_assignments(tmp_path) / "t1_weights")


def result(q1: dict, q2: dict, **more) -> dict:
    def row(checks, of):
        passed = sum(words == "passed" for words in checks.values())
        return {"points": of * passed / len(checks), "of": of, "checks": checks}

    questions = {"q1": row(q1, 50), "q2": row(q2, 40)}
    total = round(sum(one["points"] for one in questions.values()) / 0.9, 2)
    about = {"assignment": "t1", "student": "<Ann & Bo>", "id": "7", "remarks": []}
    return {**about, "total": total, "questions": questions, **more}


RIGHT = {"v_rows": "passed", "h_shapes": "passed"}
OPEN_2 = {"v_small": "weighted_mean is not answered yet", "h_shapes": "weighted_mean is not answered yet"}


def test_a_page_is_whole_and_needs_nothing_from_elsewhere(assignment):
    wrong = {"v_rows": "softmax is <b>off</b>", "h_shapes": "passed"}
    more = {"remarks": ["It is <i>late</i>."], "output": {"q1.v_rows": "<script>alert(1)</script>"}, "notes": ["<u>"]}
    page = feedback.page_of(result(wrong, OPEN_2, **more), assignment)
    text = page.decode("utf-8")
    assert not tags(page) & {"script", "b", "i", "u", "link", "img", "iframe", "a.onclick"}
    assert "&lt;Ann &amp; Bo&gt;" in text
    assert "prefers-color-scheme: dark" in text
    assert not re.search(r"https?://", text)
    for told in ("27.78 %", "25 of 50", "softmax is &lt;b&gt;off", "It is &lt;i&gt;late", "&lt;script&gt;", "hidden"):
        assert told in text
    assert "w1 is read by a person" in text


@pytest.mark.parametrize(
    ("q1", "q2", "told"),
    [
        (RIGHT, {"v_small": "passed", "h_shapes": "passed"}, []),
        (RIGHT, OPEN_2, ["Answer q2"]),
        (
            {**RIGHT, "v_rows": "off"},
            {"v_small": "off", "h_shapes": "off"},
            ["Mend q1", "Come back to q2 when q1 is right"],
        ),
        ({**RIGHT, "h_shapes": "off"}, OPEN_2, ["Test q1 yourself", "Answer q2"]),
    ],
)
def test_what_to_do_next_comes_in_the_order_that_helps(assignment, q1, q2, told):
    steps = feedback.next_steps(result(q1, q2), assignment)
    assert [step[: len(begin)] for step, begin in zip(steps, told, strict=True)] == told


def test_where_nothing_ran_there_is_one_step(assignment):
    words = "adapters.py raises ImportError: importing torch is not allowed, in a.py line 1"
    q1, q2 = (dict.fromkeys(checks, words) for checks in (RIGHT, OPEN_2))
    stopped = result(q1, q2, unloaded=words)
    (step,) = feedback.next_steps(stopped, assignment)
    assert step.startswith("Mend what stops the import")
    nobody = result(*(dict.fromkeys(checks, feedback.NO_ADAPTERS) for checks in (RIGHT, OPEN_2)))
    (step,) = feedback.next_steps(nobody, assignment)
    assert step.startswith("Hand in again")
    page = overview.page_of([stopped, nobody], {"t1": assignment}, ["a", "b"]).decode("utf-8")
    assert "Checks that failed most" not in page


def test_answers_stand_together_by_question():
    written = [{"id": "w1", "title": "Why", "points": 5}, {"id": "w2", "title": "How <much>", "points": 5}]
    preamble = "# T: written questions\n\nThe questions are at the end of handout.md.\n\n"
    texts = [
        ("Ann & Bo", preamble + "## w1. Why (5 points)\n\nA < B\n## Aside\nmore\n\n## w2. How\n\n"),
        ("Cy", "With Bo's help\n## W2\ntwice\n## w1\n# comment\n"),
        ("Di", "Neither heading."),
    ]
    assert answers.parts(texts[0][1], ["w1", "w2"]) == {"": "", "w1": "A < B\n## Aside\nmore", "w2": ""}
    told = texts[0][1] + "## AI tools\n\n<!-- Which? -->\n"
    assert answers.parts(told, ["w1", "w2"])["w2"] == answers.parts(told, ["w1", "w2"])[""] == ""
    assert answers.parts(told + "None.", ["w1", "w2"])[""] == "None."
    page = answers.page_of("T", written, texts).decode("utf-8")
    assert "script" not in tags(page.encode())
    first, second, neither = page.split("<h2>")[1:]
    assert "A &lt; B" in first
    assert "Ann &amp; Bo" in first
    assert "# comment" in first
    assert "twice" in second
    assert "How &lt;much&gt; · 5 points" in second
    assert "Ann" not in second
    assert "Neither heading." in neither
    assert "With Bo&#x27;s help" in neither
    assert "Ann" not in neither


def test_the_overview_counts(assignment):
    off = {"v_rows": "off. Hint?", "h_shapes": "off"}
    blamed = dict.fromkeys(OPEN_2, "q2 depends on q1, which is wrong: first fix q1")
    results = [
        result(RIGHT, {"v_small": "passed", "h_shapes": "passed"}),
        result(off, blamed, mistakes={"q1": ["columns"]}, remarks=["No <b>."]),
        result(off, OPEN_2, mistakes={"q1": ["columns", "overflows"]}),
        {**result(RIGHT, OPEN_2), "total": None, "questions": {}},
    ]
    assert overview.misconceptions(results, assignment) == {"columns": 2, "overflows": 1}
    page = overview.page_of(results, {"t1": assignment}, ["a", "b c", "d", "e"])
    text = page.decode("utf-8")
    assert "script" not in tags(page)
    assert "4 submissions, 1 not graded; mean 33.3 %, median 0.0 %" in text
    assert "the weights are made down the columns" in text
    assert '<td class="n">2</td><td>q1 <code>v_rows</code>' in text
    assert "first fix q1" not in text
    assert "q2: 1" in text
    assert 'href="feedback/b%20c.html"' in text
    assert "No &lt;b&gt;." in text
