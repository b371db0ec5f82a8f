"""Arrays and steps in words: the text form of the stepper, also shown beside its drawing."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from minivit.backend import is_array, to_numpy
from minivit.stepper.frame import Frame, Link

FEW = 12  # an array of so many numbers is shown whole
PER_LINE = 4


def is_small(shape: tuple[int, ...]) -> bool:
    """Whether arrays of this shape are shown whole."""
    return int(np.prod(shape)) <= FEW


def lines_of(array: Any) -> list[str]:
    """A small array row by row, with line breaks after four numbers; for a large one its norm."""
    if not is_small(array.shape):
        return [f"norm {_number(np.linalg.norm(to_numpy(array).astype(np.float64)))}"]
    if not array.shape or not array.size:
        return [_number(array)] if array.size else ["empty"]
    rows = to_numpy(array).reshape(-1, array.shape[-1])
    lines = []
    for row in rows:
        numbers = [_number(value) for value in row]
        pieces = [" ".join(numbers[i : i + PER_LINE]) for i in range(0, len(numbers), PER_LINE)]
        lines += f"[{'|'.join(pieces)}]".split("|")
    return lines


def number_of_lines(shape: tuple[int, ...]) -> int:
    """The number of lines that `lines_of` gives for an array."""
    if not shape or not is_small(shape) or 0 in shape:
        return 1
    return int(np.prod(shape[:-1])) * -(-shape[-1] // PER_LINE)


def _told(key: str, what: str, array: Any, remark: str = "") -> Iterator[str]:
    """A key in the first column and what an array is; a small matrix follows row by row."""
    shape = "" if array.ndim < 2 and is_small(array.shape) else f"{array.shape} "
    lines = lines_of(array)
    if remark:
        remark = f"   ({remark})"
    if len(lines) == 1:
        yield f"{key:10} {what} {shape}{lines[0]}{remark}"
        return
    yield f"{key:10} {what} {shape.rstrip()}{remark}"
    for line in lines:
        yield f"{'':13}{line}"


def _number(value: Any) -> str:
    return f"{float(value) + 0.0:.3g}"  # + 0.0: no -0


def heading(frame: Frame, steps: int, label: str, is_name: bool) -> str:
    """A step in one line. label: of the result whose vjp runs; is_name: whether that is its own name."""
    if frame.node is None:
        return f"Before the first of {steps} steps: only {label} has its cotangent"
    vjp = f"{frame.op} runs, which made {label}" if is_name else f"{label} runs"
    return f"Step {frame.position} of {steps}: the vjp of {vjp}"


def details(frame: Frame, portions: dict[Link, int], label: Callable[[Link], str]) -> Iterator[str]:
    """All facts of a frame, line by line: the cotangent that came in, the source, the gradients sent and their sums.

    portions: the number of cotangents that each Node or leaf receives in total; label: names them.
    """
    if frame.node is None:
        for link, g in frame.accumulated.items():
            yield from _told("given", f"at {label(link)}: g =", g)
        return
    total = portions[frame.node]
    whole = "its only portion has arrived" if total == 1 else f"all {total} portions have arrived"
    assert frame.cotangent_in is not None
    yield from _told("comes in", "g =", frame.cotangent_in, whole)
    yield from _saved(frame)
    yield f"source     {f'{frame.source_file}, line {frame.source_line}' if frame.source else 'not to be had'}"
    for line in frame.source.splitlines():
        yield f"           | {line}"
    for expression in frame.returned:
        yield f"returns    {expression}"
    yield from _going_out(frame)
    for target in dict.fromkeys(argument.link for argument in frame.inputs):
        if target is not None and portions[target] > 1:
            count = f"{frame.arrived[target]} of {portions[target]} portions"
            yield from _told("adds up", f"at {label(target)}: g =", frame.accumulated[target], count)


def _saved(frame: Frame) -> Iterator[str]:
    """The vjp's captured arrays, by the names in the source, which may mean something else to the reader."""
    for name, value in frame.saved.items():
        if is_array(value):
            labels = [argument.label for argument in frame.inputs if argument.value is value]
            yield from _told("saved", f"{name} of {frame.op} =", value, f"it is {labels[0]}" if labels else "")
        else:
            number = value if isinstance(value, int) else _number(value)  # a shape's length is exact
            yield f"saved      {name} of {frame.op} = {number}"


def _going_out(frame: Frame) -> Iterator[str]:
    """The gradients sent to each argument: the reader's name for it first, then the op's."""
    for argument, returned, d in zip(frame.inputs, frame.returned_shapes, frame.cotangents_out, strict=True):
        parameter = f"argument {argument.parameter} of {frame.op}"
        if d is None:
            yield f"nothing    to {parameter}: {argument.label}"
            continue
        remarks = [parameter] if len(frame.inputs) > 1 else []
        if returned != argument.shape:
            remarks.append(f"the engine sums {returned} to {argument.shape}")
        yield from _told("goes out", f"to {argument.label}:", d, "; ".join(remarks))
