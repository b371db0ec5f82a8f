"""The tape as a graph to draw: the nodes of each column and the memory that each keeps.

A column is a block of the model, or the part before or after the blocks; equal blocks in a row share one column.
"""

import dataclasses
import inspect
import re
from collections.abc import Iterator
from typing import Any

from minivit.backend import Array, is_array
from minivit.backward import Node
from minivit.tape import closure_values
from minivit.tensor import Tensor

BLOCKS = {"blocks": "block", "units": "unit", "stem.units": "stem unit"}  # a list of alike modules: title of each
IN_BLOCK = re.compile(rf"^({'|'.join(map(re.escape, BLOCKS))})\.(\d+)\.")  # how the name of a parameter in one begins


@dataclasses.dataclass
class Column:
    """Nodes below one another, oldest first.   repeats: the number of equal blocks that it stands for."""

    title: str
    nodes: list[Node]
    repeats: int = 1


def columns_of(nodes: list[Node]) -> list[Column]:
    """The columns to draw, from first to last; equal blocks share one."""
    return _merged(by_block(nodes))


def by_block(nodes: list[Node]) -> list[Column]:
    """A column for each block, and for the parts before and after the blocks.

    A node belongs to the block, or unit of a ResNet, whose parameter it takes ("blocks.0. ..."); one without parameters
    stays with the node before it.
    """
    columns: list[Column] = []
    for node in nodes:
        names = [link.name or "" for link in node.inputs if isinstance(link, Tensor)]
        blocks = [match.groups() for name in names if (match := IN_BLOCK.match(name))]
        if blocks:
            kind, number = blocks[0]
            title = f"{BLOCKS[kind]} {int(number) + 1}"
        elif columns and not names:
            title = columns[-1].title
        else:
            title = "head" if any(column.title.startswith(("block", "unit")) for column in columns) else "embedding"
        if not columns or columns[-1].title != title:
            columns.append(Column(title, []))
        columns[-1].nodes.append(node)
    if len(columns) == 1:
        columns[0].title = "ops"
    return columns


def _merged(columns: list[Column]) -> list[Column]:
    """Neighbouring blocks of the same ops on the same shapes become one column."""
    shown: list[Column] = []
    for column in columns:
        if shown and column.title[-1].isdigit() and _signature(column) == _signature(shown[-1]):
            shown[-1].repeats += 1
        else:
            shown.append(column)
    for column in shown:
        if column.repeats > 1:
            kind, _, start = column.title.rpartition(" ")
            column.title = f"{kind}s {start} to {int(start) + column.repeats - 1}, alike"
    return shown


def _signature(column: Column) -> list[str]:
    return [repr(node) for node in column.nodes]


def kept_bytes(nodes: list[Node]) -> dict[int, int]:
    """By `order`: bytes that the node's vjp keeps in memory and no earlier node kept, parameters apart.

    A view counts as the array that it is a view of, whole.
    """
    parameters = {id(_owner(link.data)) for node in nodes for link in node.inputs if isinstance(link, Tensor)}
    seen = set(parameters)
    kept = {}
    for node in nodes:
        new = {id(owner): owner for owner in map(_owner, _captured(node.vjp)) if id(owner) not in seen}
        seen |= new.keys()
        kept[node.order] = sum(owner.nbytes for owner in new.values())
    return kept


def _captured(vjp: Any) -> Iterator[Array]:
    """The arrays that a function captured, and those of the functions that it captured: an op made of others calls
    their vjps in its own."""
    todo, met = [vjp], set()
    while todo:
        value = todo.pop()
        if is_array(value):
            yield value
        elif inspect.isfunction(value) and value not in met:
            met.add(value)
            todo += closure_values(value).values()


def _owner(array: Array) -> Array:
    while getattr(array, "base", None) is not None and hasattr(array.base, "nbytes"):
        array = array.base
    return array
