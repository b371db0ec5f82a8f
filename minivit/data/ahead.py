"""Results computed by background threads before they are asked for."""

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, wait
from queue import SimpleQueue
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

PATIENCE = 1.0  # seconds that leaving waits for what the threads are doing


def ahead(function: Callable[[T], R], arguments: Iterable[T], threads: int, depth: int) -> Generator[R, None, None]:
    """function(a) for each argument a, in order, computed by threads at most `depth` results ahead.

    Leaving the iteration waits for the threads, but not for ever: a read from a lost network drive may never end. So
    the threads are daemons, which do not keep the process alive as those of concurrent.futures do.
    """
    tasks: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
    results: deque[Future[R]] = deque()
    crew = [
        threading.Thread(target=_serve, args=(tasks,), name=f"minivit-data_{i}", daemon=True) for i in range(threads)
    ]
    try:
        for thread in crew:
            thread.start()
        for argument in arguments:
            results.append(Future())
            tasks.put(_task(results[-1], function, argument))
            if len(results) > depth:
                yield _value(results.popleft())
        while results:
            yield _value(results.popleft())
    finally:  # also when the consumer leaves its loop: Python then closes this generator
        for result in results:
            result.cancel()
        for _ in crew:
            tasks.put(None)
        end = time.monotonic() + PATIENCE
        for thread in crew:
            thread.join(max(0.0, end - time.monotonic()))


def _value(result: Future[R]) -> R:
    while not result.done():
        wait([result], PATIENCE)  # with an end, since Windows cannot interrupt a wait without one
    return result.result()


def _task(result: Future[R], function: Callable[[T], R], argument: T) -> Callable[[], None]:
    def run() -> None:
        if result.set_running_or_notify_cancel():
            try:
                result.set_result(function(argument))
            except BaseException as error:
                result.set_exception(error)

    return run


def _serve(tasks: "SimpleQueue[Callable[[], None] | None]") -> None:
    """What a thread does, until it gets None."""
    while (task := tasks.get()) is not None:
        task()
        del task  # with it goes the result, which is large
