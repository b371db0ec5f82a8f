"""The feedback page of a student: points, right answers, faults in words, and next steps."""

from collections.abc import Mapping, Sequence
from typing import Any

from minivit.course.assignment import Assignment, Question
from minivit.course.classroom.pages import bar, page, points, text

__all__ = ["NO_ADAPTERS", "is_open", "page_of"]

NO_ADAPTERS = "not answered: there is no adapters.py"  # what each check says of a submission without one
RULES = (
    "Each check is all or nothing, unless it counts how many mistakes your tests find. Visible checks are those of"
    " <code>check.py</code>, with other numbers; hidden ones use other shapes and values. Warnings and prints cost"
    " nothing."
)


def is_open(words: str) -> bool:
    """Whether a check reports that its question is not answered."""
    return any(sign in words for sign in ("not answered", "adapters.py has no ", " returns None: "))


def page_of(result: Mapping[str, Any], assignment: Assignment) -> bytes:
    """The page about one result."""
    title = f"{assignment.about.get('title', assignment.id)}: {result['student']}"
    sums = [*result["questions"].values(), *result.get("written", {}).values()]
    got, of = sum(row["points"] for row in sums), sum(row["of"] for row in sums)
    total = "not graded yet" if result["total"] is None else f"{points(result['total'])} %"
    body = [
        f"<h1>{text(assignment.id.upper())} · {text(assignment.about.get('title', ''))}</h1>",
        f'<p class="soft">{text(result["student"])}{text(" · " + result["id"]) if result["id"] else ""}</p>',
        f'<p><span class="big">{total}</span> <span class="soft">{points(got)} of {points(of)} points'
        f"{_still_open(result, assignment)}</span></p>",
    ]
    if result["remarks"]:
        body.append('<div class="box"><strong>About what you handed in</strong><ul>')
        body += [*(f"<li>{text(remark)}</li>" for remark in result["remarks"]), "</ul></div>"]
    if result["questions"] and all(row["points"] >= row["of"] - 1e-6 for row in result["questions"].values()):
        body.append('<p class="right">All checks pass.</p>')
    if steps := next_steps(result, assignment):
        body.append('<div class="box"><strong>What to do next</strong><ol>')
        body += [*(f"<li>{step}</li>" for step in steps), "</ol></div>"]
    for name, row in result["questions"].items():
        body += _question(assignment.questions[name], row)
    for name, row in result.get("written", {}).items():
        body.append(f"<h2>{text(name)} · written · {points(row['points'])} of {points(row['of'])}</h2>")
    body += [*_notes(result.get("notes", [])), *_printed(result.get("output", {}))]
    body.append(f'<p class="soft">{RULES}</p>')
    return page(title, body)


def _still_open(result: Mapping[str, Any], assignment: Assignment) -> str:
    missing = [row["id"] for row in assignment.about.get("written", []) if row["id"] not in result.get("written", {})]
    be = "is" if len(missing) == 1 else "are"
    return f"; {_list(missing)} {be} read by a person, and not counted yet" if missing else ""


def _question(question: Question, row: Mapping[str, Any]) -> list[str]:
    got, of = row["points"], row["of"]
    share = got / of if of else 1.0
    lines = [
        f"<h2>{text(question.id)} · {text(question.title)} · {points(got)} of {points(of)}</h2>",
        bar(share, f"{points(got)} of {points(of)} points"),
        "<table><tbody>",
    ]
    for name, words in row["checks"].items():
        kind = "hidden" if name.startswith("h_") else "visible"
        unpaid = ", no points" if name in question.unpaid else ""
        label = f'<td class="check"><code>{text(name[2:])}</code><br><span class="soft">{kind}{unpaid}</span></td>'
        if words == "passed":
            told = '<td class="right">✓ right</td>'
        elif is_open(words):
            told = f'<td class="open">– {text(words)}</td>'
        else:
            told = f'<td class="wrong">✗ {text(words)}</td>'
        lines.append(f"<tr>{label}{told}</tr>")
    return [*lines, "</tbody></table>"]


def next_steps(result: Mapping[str, Any], assignment: Assignment) -> list[str]:
    """The most useful next steps, in order, as HTML: questions that others build on, failed hidden checks, open
    questions."""
    if alone := _nothing_ran(result):
        return [alone]
    lost: dict[str, str] = {}
    for name, row in result["questions"].items():
        faults = {check: words for check, words in row["checks"].items() if words != "passed"}
        paid = {check for check in faults if check not in assignment.questions[name].unpaid}
        if faults:
            open_ = all(is_open(words) for words in faults.values())
            seen = any(check.startswith("v_") for check in paid)
            lost[name] = "open" if open_ else "wrong" if seen else "hidden"
    before = {name: [one for one in assignment.questions[name].after if one in lost] for name in lost}
    steps = []
    for name in [name for name in lost if lost[name] == "wrong" and not before[name]]:
        later = sorted(assignment.dependents(name) - {name})
        more = f" Begin here: {_list(later)} build{'s' if len(later) == 1 else ''} on it." if later else ""
        steps.append(f"Mend {name}. <code>python check.py {name}</code> shows the same kind of fault.{more}")
    if hidden := [name for name in lost if lost[name] == "hidden" and not before[name]]:
        steps.append(
            f"Test {_list(hidden)} yourself: the visible checks pass, and hidden ones do not. Read the sentence below"
            " and the conventions in the handout. Then try such a case: other shapes, a square one, ties, repeated"
            " indices, something empty."
        )
    if unanswered := [name for name in lost if lost[name] == "open"]:
        steps.append(f"Answer {_list(unanswered)}: nothing is there yet.")
    if waiting := [name for name in lost if lost[name] != "open" and before[name]]:
        first = [name for name in lost if any(name in before[one] for one in waiting) and name not in waiting]
        those = f"when {_list(first)} {'is' if len(first) == 1 else 'are'} right" if first else "last"
        steps.append(f"Come back to {_list(waiting)} {those}.")
    return steps


def _nothing_ran(result: Mapping[str, Any]) -> str:
    """What to do where no check could run, as HTML, or nothing."""
    if result.get("unloaded"):
        return (
            "Mend what stops the import, as said above; <code>python check.py</code> says it, too. Until then no check"
            " runs, so the lines below say nothing about your answers."
        )
    said = {words for row in result["questions"].values() for words in row["checks"].values()}
    if said == {NO_ADAPTERS}:
        return "Hand in again, with the file that <code>python check.py pack</code> makes: nothing could be graded."
    return ""


def _list(names: Sequence[str]) -> str:
    return ", ".join(map(text, names[:-1])) + (" and " if len(names) > 1 else "") + text(names[-1])


def _notes(notes: Sequence[str]) -> list[str]:
    """What the grader noted about the files."""
    if not notes:
        return []
    return ["<h2>Notes</h2>", "<ul>", *(f"<li>{text(note)}</li>" for note in notes), "</ul>"]


def _printed(output: Mapping[str, str]) -> list[str]:
    """What the submission printed, warnings among it, by the check that ran."""
    if not output:
        return []
    blocks = [f"<p><code>{text(check)}</code></p><pre>{text(printed)}</pre>" for check, printed in output.items()]
    return ["<h2>What your code printed</h2>", '<p class="soft">This costs no points.</p>', *blocks]
