"""The sum of the gradients over all ranks, added while the backward pass still goes on.

All gradients lie in one flat array, those of the last layers first, since these are known first. The array is cut into
a few buckets. When a worker thread has a gradient complete, it puts it there; a bucket that is complete is added over
the ranks by a thread of its own, while the workers compute the gradients of earlier layers.
"""

import functools
import itertools
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from minivit.backend import Array
from minivit.backend.workers import Workers
from minivit.backward import Cotangents, Node, first_cotangent, pull_back, reachable
from minivit.tensor import Tensor

BUCKETS, LEAST = 6, 2**18  # their number, or fewer; elements of a bucket at least, since each costs a message


class GradientSum:
    """Adds the gradients of `parameters` over all workers and ranks.

    allreduce: adds an array over the ranks, in place; called in one thread at a time, for the same arrays in the same
    order on every rank. views: the sums, once `finish` has returned, in the order of the parameters.
    """

    def __init__(self, parameters: Sequence[Tensor], workers: int, allreduce: Callable[[np.ndarray], None]):
        self.parameters, self.workers, self._allreduce = parameters, workers, allreduce
        sizes = [p.data.size for p in reversed(parameters)]
        ends = np.cumsum([0, *sizes]).tolist()
        self.flat = np.zeros(ends[-1], parameters[0].dtype)
        shapes = [p.shape for p in reversed(parameters)]
        views = [self.flat[a:b].reshape(s) for a, b, s in zip(ends, ends[1:], shapes, strict=False)]
        self.views = views[::-1]
        least = max(LEAST, -(-ends[-1] // BUCKETS))
        bounds = [0]
        for end in ends[1:]:
            if end - bounds[-1] >= least or end == ends[-1]:
                bounds.append(end)
        self._buckets = [self.flat[a:b] for a, b in itertools.pairwise(bounds)]
        self._of = np.searchsorted(bounds, ends[:-1], side="right")[::-1] - 1  # the bucket of each parameter
        self._members = np.bincount(self._of, minlength=len(self._buckets)).tolist()
        self._lock = threading.Lock()
        self._thread = ThreadPoolExecutor(1, "minivit-ranks")

    def close(self) -> None:
        """End the thread, after the sum that it has begun."""
        self._thread.shutdown(cancel_futures=True)

    def begin(self) -> None:
        """Expect every gradient once from every worker."""
        self._given: list[list[Array | None]] = [[None] * self.workers for _ in self.parameters]
        self._missing = list(self._members)
        self._next, self._sent = 0, list[Future[None]]()

    def give(self, worker: int, i: int, gradient: Array) -> None:
        """A worker's sum of the gradients of parameter i is complete."""
        with self._lock:
            given = self._given[i]
            given[worker] = gradient
            complete = all(g is not None for g in given)
        if not complete:
            return
        view = self.views[i]
        view[...] = given[0]
        for other in given[1:]:
            view += other
        given[:] = [view] * len(given)  # the gradients are free
        with self._lock:
            self._missing[self._of[i]] -= 1
            while self._next < len(self._missing) and not self._missing[self._next]:  # on all ranks in this order
                self._sent.append(self._thread.submit(self._allreduce, self._buckets[self._next]))
                self._next += 1

    def has(self, worker: int, i: int) -> bool:
        """Whether that was given."""
        return self._given[i][worker] is not None

    def finish(self) -> list[Array]:
        """The sums, when all are there."""
        for sent in self._sent:
            sent.result()
        return self.views


def added_as_they_come(total: GradientSum, of_piece: Callable[..., Any], count: int, workers: Workers) -> list[Any]:
    """What each worker has found in its pieces (`minivit.update.batch.Found`), without gradients: these are in `total`
    once it has finished.   of_piece: the function of `minivit.update.step.by_piece`."""
    total.begin()

    def of_worker(worker: int) -> Any:
        *mine, last = range(worker, count, workers.count)
        before = functools.reduce(lambda one, two: one.plus(two), map(of_piece, mine)) if mine else None

        def give(i: int, gradient: Array) -> None:
            total.give(worker, i, before.gradients[i] + gradient if before else gradient)

        found = of_piece(last, functools.partial(grad_as_it_comes, give))
        for i, gradient in enumerate(found.gradients):
            if not total.has(worker, i):  # it is 0, or was complete only at the end
                give(i, gradient)
        found = found._replace(gradients=[])
        return before._replace(gradients=[]).plus(found) if before else found

    return workers.map(of_worker, range(total.workers))


def grad_as_it_comes(
    give: Callable[[int, Array], None], loss: Tensor, tensors: Sequence[Tensor], g: Array | None = None
) -> list[Array]:
    """`minivit.grad` for leaves, which also calls give(i, gradient) as soon as a gradient is complete: when the oldest
    op that used the leaf has been pulled back. Gradients may share memory: do not write to them."""
    numbers = {id(tensor): i for i, tensor in enumerate(tensors)}
    links = reachable(loss)
    users = {id(leaf): node for node in links if isinstance(node, Node) for leaf in node.inputs}  # the oldest one stays
    complete: dict[int, list[int]] = {}  # after a node of this order, the gradients of these tensors
    for leaf, i in numbers.items():
        if leaf in users:
            complete.setdefault(users[leaf].order, []).append(i)
    cotangents = Cotangents()
    cotangents.add(loss.node or loss, first_cotangent(loss, g))
    for node in links:
        if isinstance(node, Node):
            if node in cotangents:
                pull_back(node, cotangents, keep=False)
            for i in complete.get(node.order, ()):
                if tensors[i] in cotangents:
                    give(i, cotangents.get(tensors[i], keep=True))
    return [cotangents.get(t, keep=True) if t in cotangents else np.zeros_like(t.data) for t in tensors]
