"""Functions with a mistake in them: their own source with a part exchanged, for tests that must see it."""

import inspect
import textwrap


def mistaken(function, right, wrong):
    """The function with `wrong` in the place of `right`, once or more."""
    source = textwrap.dedent(inspect.getsource(function))
    assert right in source, f"{function.__qualname__} has no {right!r}"
    made = {}
    exec(compile(source.replace(right, wrong), f"<{function.__qualname__}>", "exec"), function.__globals__, made)
    return made[function.__name__]


def make_mistake(monkeypatch, place, name, right, wrong):
    """Put the mistake into `place`, a module or class, for the time of a test."""
    monkeypatch.setattr(place, name, mistaken(getattr(place, name), right, wrong))
