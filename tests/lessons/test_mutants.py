"""The judges against right answers with one change each: what they accept, and how much they tell of the rest."""

import ast
import collections
import itertools
from pathlib import Path

import pytest
from lessons import mutants
from lessons.mutators import edits

PAGE = Path(__file__).parents[2] / "docs" / "judges.md"


@pytest.mark.planted
@pytest.mark.parametrize("module", mutants.MODULES)
def test_a_changed_answer_is_rejected_or_named_as_right(module):
    """And at least half of those that return something wrong are told more than that they differ."""
    known = getattr(mutants.answers(module), "EQUIVALENT", {})
    fates, used, unnamed = collections.Counter(), set(), []
    for number, mutant, fate, _ in mutants.tried(module):
        fates[fate] += 1
        if fate == "survived":
            names = [name for name in known.get(number, {}) if mutants.is_named(mutant.line, name)]
            used |= {(number, name) for name in names}
            unnamed += [] if names else [f"{number}: {mutant.kind}: {mutant.line}"]
    assert not unnamed, "accepted; add a case that tells them apart, or a reason to EQUIVALENT"
    assert {(number, name) for number, names in known.items() for name in names} == used, "named, but not accepted"
    assert mutants.share(fates) >= 0.5, fates


def test_the_page_names_every_survivor():
    begin, end = "<!-- survivors -->\n", "<!-- end of survivors -->"
    assert PAGE.read_text(encoding="utf-8").partition(begin)[2].partition(end)[0] == mutants.table()


SOURCE = """
def answer(x, y, keep=True):
    total = -x.T @ y + 1
    total += np.sum(x[1:], axis=0) if keep else 0
    for i in range(3):
        total[i] = total[i] ** 2
    return total, x < y
"""


def changed_lines(source=SOURCE):
    tree = ast.parse(source)
    return list(edits(tree.body[0]))


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("operator", "total = -x.T @ y - 1"),
        ("dropped term", "total = -x.T @ y"),
        ("dropped factor", "total = y + 1"),
        ("swapped factors", "total = y @ -x.T + 1"),
        ("dropped sign", "total = x.T @ y + 1"),
        ("dropped transpose", "total = -x @ y + 1"),
        ("constant", "total = -x.T @ y + 2"),
        ("= for +=", "total = np.sum(x[1:], axis=0) if keep else 0"),
        ("removed statement", "total = -x.T @ y + 1  # removed"),
        ("function", "total += np.mean(x[1:], axis=0) if keep else 0"),
        ("keyword", "total += np.sum(x[1:], axis=1) if keep else 0"),
        ("dropped keyword", "total += np.sum(x[1:]) if keep else 0"),
        ("shifted slice", "total += np.sum(x[1 + 1:], axis=0) if keep else 0"),
        ("constant", "for i in range(2):"),
        ("swapped results", "return (x < y, total)"),
        ("operator", "return (total, x <= y)"),
        ("other name", "return (total, y < y)"),
    ],
)
def test_a_mutant_has_one_change(kind, line):
    assert (kind, line) in changed_lines()


def test_the_tree_is_as_before_after_all_changes():
    tree = ast.parse(SOURCE)
    for _ in edits(tree.body[0]):
        pass
    assert ast.unparse(tree) == ast.unparse(ast.parse(SOURCE))


def test_a_sample_has_every_operator():
    found = [mutants.Mutant(kind, str(i), None, "") for kind, n in (("a", 90), ("b", 9), ("c", 1)) for i in range(n)]
    chosen = mutants.sample(found, 20)
    assert {mutant.kind for mutant in chosen} == {"a", "b", "c"}
    assert 20 <= len(chosen) <= 22
    assert chosen == mutants.sample(found, 20)


def test_an_endless_mutant_is_stopped():
    with pytest.raises(mutants.TooLong), mutants.limited(0.1):
        for _ in itertools.count():
            pass


@pytest.mark.parametrize(
    ("said", "fate"),
    [
        ("It has the right shape, but differs from the right values by up to 1.2.", "generic"),
        ("It has the right shape, but differs from the right values by up to 1.2, only in the first row.", "specific"),
        ("dq has the right shape, but differs from the right values by up to 1.2. dv is right.", "which"),
        ("dq is 2 times the right one. dk and dv are not right either.", "specific"),
        ("The result has shape (3,), expected (4,).", "generic"),
        ("The result has shape (3, 4), expected (4, 3): it is the right one transposed.", "specific"),
        ("It raised ValueError: no.", "error"),
    ],
)
def test_verdicts_are_told_apart(said, fate):
    assert mutants.told(f"{said} The arguments were an array (3,).") == fate
