"""The gate: the reference, the stub, and every wrong solution through all checks of an assignment.

`python -m minivit.course.gate a3_attention` for now; becomes a part of `python -m minivit.course gate`.
"""

import signal
import sys
from collections.abc import Mapping

from minivit.course.assignment import Assignment, Check, assignments, draws
from minivit.course.solution import load
from minivit.course.trial import Direct, Trial, Wrong

KEY = b"gate"


def _alarm(*_):
    raise Wrong("it takes too long")


def run(
    assignment: Assignment,
    files: Mapping[str, str],
    check: Check,
    student: str = "gate",
    others=dict,
    record: bool = False,
) -> Trial | str:
    """One check of one solution, in this process: the Trial, or what is wrong."""
    signal.signal(signal.SIGALRM, _alarm)
    signal.alarm(int(3 * check.seconds))
    try:
        engines = {"master": assignment.master, **assignment.rights}
        engines.update(
            {name: assignment.wrong_files(name) for name, wrong in assignment.wrongs.items() if wrong.engine}
        )
        loaded: dict = {}

        def engine(solution, adapter):
            if solution not in loaded:
                loaded[solution] = load(engines[solution], given=assignment.given)
            return getattr(loaded[solution], adapter)

        call = Direct(load(files, given=assignment.given), engine)
        rng = draws(KEY, student, assignment.id, check.question, check.name)
        list_of_engines = [(name, name in assignment.wrongs) for name in engines]
        trial = Trial(call, Direct(assignment.oracle), rng, others, list_of_engines)
        trial.recording = record
        check.run(trial)
        return trial
    except Wrong as wrong:
        return trial if record else str(wrong)
    except RecursionError:
        return trial if record else "recursion"
    finally:
        signal.alarm(0)


def hints(assignment: Assignment, check: Check, student: str = "gate"):
    """What each wrong solution of a question gives at the comparisons of a check."""
    found = {}
    for name, wrong in assignment.wrongs.items():
        if wrong.question == check.question:
            trial = run(assignment, assignment.wrong_files(name), check, student, record=True)
            if isinstance(trial, Trial):
                found[name] = (wrong.hint, trial.seen)
    return found


def main() -> None:
    assignment = assignments()[sys.argv[1]]
    verbose = "-v" in sys.argv
    only = [a for a in sys.argv[2:] if a != "-v"]
    solutions = {
        "reference": assignment.master,
        "stub": assignment.stub,
        **{f"right:{k}": v for k, v in assignment.rights.items()},
    }
    solutions.update({name: assignment.wrong_files(name) for name in assignment.wrongs})
    known = {}

    def others(check):
        if check.name not in known.setdefault(check.question, {}):
            known[check.question][check.name] = hints(assignment, check)
        return known[check.question][check.name]

    for name, files in solutions.items():
        if only and name not in only:
            continue
        lost, told = {}, False
        for check in assignment.checks:
            result = run(assignment, files, check, others=lambda check=check: others(check))
            if isinstance(result, str):
                lost.setdefault(check.question, []).append(f"{check.name}: {result}")
                told = told or (name in assignment.wrongs and assignment.wrongs[name].hint in result)
        if name == "stub":
            ok = {
                c.question for c in assignment.checks if not any(c.name in x for x in lost.get(c.question, []))
            } == set()
        elif name in assignment.wrongs:
            wrong = assignment.wrongs[name]
            may = assignment.dependents(wrong.question) | set(wrong.also)
            ok = wrong.question in lost and set(lost) <= may
        else:
            ok = not lost
        visible = any(": " in x and x.startswith("v_") for xs in lost.values() for x in xs)
        print(
            "ok  " if ok else "BAD ",
            name,
            {q: len(x) for q, x in lost.items()},
            "" if told or name not in assignment.wrongs else "(its hint is not shown)",
            "visible" if visible else "",
        )
        if verbose or not ok:
            for question, faults in lost.items():
                for fault in faults:
                    print("      ", question, fault)


if __name__ == "__main__":
    main()
