"""The instructor's page: results of the class by question, and the misconceptions found."""

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from minivit.course.assignment import Assignment
from minivit.course.classroom.feedback import is_open
from minivit.course.classroom.pages import columns, page, points, text

__all__ = ["misconceptions", "page_of"]

SHOWN = 25  # rows of a table


def page_of(results: Sequence[Mapping[str, Any]], variants: Mapping[str, Assignment], names: Sequence[str]) -> bytes:
    """The page about a class.   names: of the files of each result."""
    title = " / ".join(one.about.get("title", one.id) for one in variants.values())
    ids = ", ".join(one.upper() for one in variants)
    totals = [result["total"] for result in results if result["total"] is not None]
    body = [f"<h1>{text(ids)} · {text(title)}</h1>", f'<p class="soft">{_summary(totals, len(results))}</p>']
    body += ["<h2>Totals</h2>", _histogram(totals)]
    for name, one in variants.items():
        of_it = [result for result in results if result["assignment"] == name and result["total"] is not None]
        if len(variants) > 1:
            body.append(
                f"<h2>{text(name.upper())} · {text(one.about.get('title', ''))} · {len(of_it)} submissions</h2>"
            )
        if of_it:
            body += [*_questions(of_it, one), *_mistakes(of_it, one), *_checks(of_it), *_open(of_it)]
    body += _students(results, names)
    return page(f"{ids}: the class", body)


def _summary(totals: Sequence[float], count: int) -> str:
    if not totals:
        return f"{count} submissions, none graded"
    middle = f"mean {statistics.fmean(totals):.1f} %, median {statistics.median(totals):.1f} %"
    left = f", {count - len(totals)} not graded" if count > len(totals) else ""
    return f"{count} submission{'s' if count > 1 else ''}{left}; {middle}, {min(totals):.1f} to {max(totals):.1f} %"


def _histogram(totals: Sequence[float]) -> str:
    """Submissions by total, in tens; 100 is in a column of its own."""
    counts = Counter(10 if total >= 100 else int(max(total, 0) // 10) for total in totals)
    values = [counts[i] for i in range(11)]
    labels = [*(f"{10 * i}–" for i in range(10)), "100"]
    return columns(values, labels, [str(v) if v else "" for v in values], max(values), "number of submissions by total")


def _questions(results: Sequence[Mapping[str, Any]], assignment: Assignment) -> list[str]:
    """The mean of each question in percent, and how many have all, some, none of it."""
    names = list(assignment.questions)
    rows = {name: [result["questions"][name] for result in results if name in result["questions"]] for name in names}
    means = [
        100 * statistics.fmean(row["points"] / (row["of"] or 1) for row in rows[name]) if rows[name] else 0
        for name in names
    ]
    chart = columns(means, names, [f"{mean:.0f} %" for mean in means], 100, "mean percent of each question")
    lines = ["<h2>Questions</h2>", chart, '<table><thead><tr><th>question</th><th class="n">all points</th>']
    lines.append('<th class="n">some</th><th class="n">none</th></tr></thead><tbody>')
    for name in names:
        full = sum(row["points"] >= row["of"] - 1e-6 for row in rows[name])
        none = sum(row["points"] == 0 for row in rows[name])
        cells = "".join(f'<td class="n">{count}</td>' for count in (full, len(rows[name]) - full - none, none))
        lines.append(f"<tr><td>{text(name)} · {text(assignment.questions[name].title)}</td>{cells}</tr>")
    return [*lines, "</tbody></table>"]


def misconceptions(results: Sequence[Mapping[str, Any]], assignment: Assignment) -> Counter[str]:
    """Recognised wrong solutions, by name -> number of submissions."""
    found = [{name for names in result.get("mistakes", {}).values() for name in names} for result in results]
    return Counter(name for names in found for name in sorted(names & set(assignment.wrongs)))


def _mistakes(results: Sequence[Mapping[str, Any]], assignment: Assignment) -> list[str]:
    found = misconceptions(results, assignment)
    if not found:
        return ["<h2>Misconceptions</h2>", "<p>None of the known ones was recognised.</p>"]
    lines = ["<h2>Misconceptions</h2>", "<table><caption>Each was recognised by its results.</caption><thead><tr>"]
    lines.append('<th class="n">met</th><th>question</th><th>the misconception, and the hint</th></tr></thead><tbody>')
    for name, count in found.most_common():
        wrong = assignment.wrongs[name]
        told = f'{text(wrong.misconception)}<br><span class="soft">{text(wrong.hint)}</span>'
        lines.append(f'<tr><td class="n">{count}</td><td>{text(wrong.question)}</td><td>{told}</td></tr>')
    return [*lines, "</tbody></table>"]


def _checks(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """The checks that failed most, without unanswered and spoilt questions, and programs that do not import."""
    failed: Counter[tuple[str, str]] = Counter()
    said: dict[tuple[str, str], Counter[str]] = {}
    for result in [one for one in results if not one.get("unloaded")]:
        for question, row in result["questions"].items():
            for check, words in row["checks"].items():
                if words != "passed" and not is_open(words) and " depends on " not in words:
                    failed[question, check] += 1
                    said.setdefault((question, check), Counter())[words] += 1
    if not failed:
        return []
    lines = ["<h2>Checks that failed most</h2>", '<table><thead><tr><th class="n">failed</th><th>check</th>']
    lines.append("<th>most often because</th></tr></thead><tbody>")
    for (question, check), count in failed.most_common(SHOWN):
        often = said[question, check].most_common(1)[0][0]
        lines.append(
            f'<tr><td class="n">{count}</td><td>{text(question)} <code>{text(check)}</code></td>'
            f"<td>{text(often)}</td></tr>"
        )
    return [*lines, "</tbody></table>"]


def _open(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """How many have not answered which question."""
    counts: Counter[str] = Counter()
    for result in results:
        for question, row in result["questions"].items():
            counts[question] += bool(row["checks"]) and all(is_open(words) for words in row["checks"].values())
    told = ", ".join(f"{text(question)}: {count}" for question, count in sorted((+counts).items()))
    return ["<h2>Not answered</h2>", f"<p>{told or 'Everybody has answered everything.'}</p>"]


def _students(results: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[str]:
    """Submissions about which there is something to say, then all."""
    lines = []
    pairs = list(zip(results, names, strict=True))
    for title, some in (
        ("Submissions with problems", [pair for pair in pairs if pair[0]["remarks"]]),
        ("All", pairs),
    ):
        if not some:
            continue
        lines += [
            f"<h2>{title}</h2>",
            '<table><thead><tr><th>student</th><th class="n">total</th><th>remarks</th></tr></thead><tbody>',
        ]
        for result, name in some:
            address = text("feedback/" + quote(name) + ".html")
            total = "–" if result["total"] is None else points(result["total"])
            remarks = text(" ".join(result["remarks"]))
            lines.append(
                f'<tr><td><a href="{address}">{text(result["student"])}</a></td><td class="n">{total}</td>'
                f"<td>{remarks}</td></tr>"
            )
        lines.append("</tbody></table>")
    return lines
