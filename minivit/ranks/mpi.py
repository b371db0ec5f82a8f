"""The ranks of a run that an MPI launcher has started.

Waiting is done in Python, with a non-blocking barrier before each collective call: so Ctrl-C is heard, and a waiting
rank leaves its core to those that still compute.
"""

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from minivit.backend import Array, to_numpy, xp_of
from minivit.backend.workers import Workers
from minivit.errors import BackendError, ConfigError, MinivitError, shown
from minivit.ranks import Ranks, in_one_line
from minivit.ranks.sums import GradientSum, added_as_they_come
from minivit.tensor import Tensor

T = TypeVar("T")


class MpiRanks(Ranks):
    """One of several ranks.   mpi: the module mpi4py.MPI."""

    def __init__(self, mpi: Any):
        self.mpi = mpi
        self._talk, self._end, self._adding = (mpi.COMM_WORLD.Dup() for _ in range(3))
        self.rank, self.count = self._talk.rank, self._talk.size
        self._open: list[Any] = []  # requests that are waited for
        self._leaving = False
        self._sum: GradientSum | None = None
        if mpi.Query_thread() < mpi.THREAD_SERIALIZED:
            raise BackendError("this MPI library was started without threads, which the sum of gradients needs")

    def found(
        self, of_piece: Callable[..., Any], count: int, parameters: Sequence[Tensor], workers: Workers
    ) -> tuple[float, dict[str, Any], list[Array]]:
        if (xp := xp_of(parameters[0].data)) is not np:
            return self._by_host(*super().found(of_piece, count, parameters, workers), xp)
        threads = min(workers.count, count)
        if self._sum is None or self._sum.workers != threads or self._sum.parameters is not parameters:
            if self._sum:
                self._sum.close()
            self._sum = GradientSum(parameters, threads, self._add)
        shares = added_as_they_come(self._sum, of_piece, count, workers)
        sums = {name: np.asarray(sum(share.sums[name] for share in shares)) for name in shares[0].sums}
        loss = sum(float(share.loss) for share in shares)
        gradients = self._sum.finish()
        return *self._numbers(loss, sums), gradients

    def _by_host(self, loss: float, sums: dict[str, Array], gradients: list[Array], xp: Any) -> Any:
        """The sums of what is on a GPU, without NCCL: for float64 and for the reference kernels."""
        host = [np.ascontiguousarray(to_numpy(g)) for g in gradients]
        for g in host:
            self._add(g)
        loss, added = self._numbers(loss, {name: np.asarray(to_numpy(x)) for name, x in sums.items()})
        return loss, {name: xp.asarray(x) for name, x in added.items()}, [xp.asarray(g) for g in host]

    def _numbers(self, loss: float, sums: dict[str, np.ndarray]) -> tuple[float, dict[str, np.ndarray]]:
        """Loss and sums over the ranks, in one message."""
        numbers = np.concatenate([[loss], *map(np.ravel, sums.values())]).astype(np.float64)
        self._add(numbers)
        ends = np.cumsum([1, *(x.size for x in sums.values())])
        parts = zip(sums.items(), ends, ends[1:], strict=False)
        return float(numbers[0]), {n: numbers[a:b].reshape(x.shape).astype(x.dtype) for (n, x), a, b in parts}

    def joined(self, array: Array) -> Array:
        own = np.ascontiguousarray(to_numpy(array))
        whole = np.empty((self.count * len(own), *own.shape[1:]), own.dtype)
        self._meet()
        self._talk.Allgather(own, whole)
        return xp_of(array).asarray(whole)

    def _add(self, array: np.ndarray) -> None:
        """Add over the ranks, in place. They meet before, since MPI itself waits without rest."""
        self._wait(self._adding.Ibarrier())
        self._adding.Allreduce(self.mpi.IN_PLACE, array)

    def each(self, action: Callable[[], T]) -> T:
        result, error = tried(action)
        self._found(error)
        return result  # type: ignore[return-value]

    def first(self, action: Callable[[], T]) -> T:
        own = None if self.rank else tried(action)
        self._meet()
        result, error = self._talk.bcast(own)
        if error:
            raise error
        return result

    def gathered(self, value: T) -> list[T]:
        self._meet()
        return self._talk.allgather(value)

    def in_step(self, items: Iterable[T]) -> Iterator[T]:
        iterator = iter(items)
        while True:
            item, error = tried(lambda: next(iterator, None))
            if any(self._found(error or item is None)):
                return
            yield item  # type: ignore[misc]  # none is None here

    def check_equal(self, arrays: Mapping[str, Any]) -> None:
        digests = {name: hashlib.blake2b(np.ascontiguousarray(to_numpy(x)).data).digest() for name, x in arrays.items()}
        found = self.gathered(digests)
        for rank, other in enumerate(found):
            if name := next((name for name in found[0] if other.get(name) != found[0][name]), None):
                raise BackendError(
                    f"rank {rank} and rank 0 no longer hold the same {name}: this machine or its MPI library adds "
                    "wrongly; go on from the last checkpoint"
                )

    def check_same(self, facts: Mapping[str, Any]) -> None:
        for rank, other in enumerate(found := self.gathered(dict(facts))):
            for name, fact in found[0].items():
                if other[name] != fact:
                    raise ConfigError(
                        f"rank {rank} has {shown(name)} {shown(other[name])}, rank 0 has {shown(fact)}: start all "
                        "ranks with the same version, options and data"
                    )

    def parted(self, seconds: float = float("inf")) -> bool:
        """Wait until all ranks come here, and end MPI: whether they do, within this time, and it can be ended."""
        self._leaving = True
        if self._sum:
            self._sum.close()
        mine = np.array(len(self._open))  # left by an error: some ranks will never answer
        most = np.empty_like(mine)
        if not wait(self._end.Iallreduce(mine, most, self.mpi.MAX), seconds):
            return False
        if not most:
            self.mpi.Finalize()
        return not most

    def _meet(self) -> None:
        self._wait(self._talk.Ibarrier())

    def _wait(self, request: Any) -> None:
        """Wait for an MPI request; a thread does so until this rank ends."""
        self._open.append(request)
        while not wait(request, 0.1):
            if self._leaving:
                raise BackendError("this process ends before the others have answered")
        self._open.remove(request)

    def _found(self, value: Any) -> list[Any]:
        """The values of all ranks. If one of them is an error, all ranks raise the first."""
        found = self.gathered(value)
        for error in found:
            if isinstance(error, MinivitError):
                raise error
        return found


def tried(action: Callable[[], T]) -> tuple[T | None, MinivitError | None]:
    """The result of action(), or its expected error."""
    try:
        return action(), None
    except MinivitError as error:
        return None, error
    except (OSError, MemoryError) as error:
        return None, MinivitError(in_one_line(error))


def wait(request: Any, seconds: float = float("inf")) -> bool:
    """Wait for an MPI request: whether it was completed within this time. At first it looks without a pause."""
    begin = time.monotonic()
    while not request.Test():
        waited = time.monotonic() - begin
        if waited > seconds:
            return False
        if waited > 2e-4:
            time.sleep(min(1e-3, waited / 10))
    return True
