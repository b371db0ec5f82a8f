"""How a command starts and ends: an expected error prints one line on standard error and exits with status 2."""

import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from minivit import terminal
from minivit.backend import blas
from minivit.backend.arrays import first_line, is_of_gpu
from minivit.backend.cores import available_cores
from minivit.backend.cupy_kernels.memory import is_full
from minivit.errors import MAX_MESSAGE, MinivitError, shown
from minivit.ranks import launch

OUT_OF_MEMORY = "out of memory: try a smaller --image-size or --batch-size, or a larger --accumulate"


def run_command(main: Callable[[Sequence[str] | None], int | None], shared: bool = False) -> NoReturn:
    """Run a command's main; an expected error prints one line on standard error and exits with status 2.

    shared: whether several processes of an MPI launcher do this command together.
    """
    terminal.open_streams()
    if launch.launched() and not shared:
        only = "only train is shared by several processes: start this command without mpirun"
        terminal.leave(_fail(only, 2) if launch.number() == 0 else 0)
    terminal.leave(_status(main))


def _status(main: Callable[[Sequence[str] | None], int | None]) -> Any:
    """The exit status of a command; an error has been printed."""
    try:
        blas.hold_to(available_cores())  # the library itself knows nothing of quotas
        return main(None)
    except SystemExit as error:  # of argparse
        return error.code
    except MinivitError as error:
        return _fail(str(error), 2)
    except MemoryError:
        return _fail(OUT_OF_MEMORY, 2)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except BrokenPipeError:  # the reader of our output has gone, as in `... | head`
        sys.stdout = terminal.silenced(sys.stdout)
        return 1
    except UnicodeEncodeError as error:  # of a name, by a system that writes names in ASCII for instance
        return _fail(f"{error.object!r} cannot be written in {error.encoding}: set PYTHONUTF8=1", 2)
    except OSError as error:  # a folder that may not be entered, a disk that fails
        return _fail(f"{error.filename or 'reading or writing'}: {error.strerror or error}", 2)
    except Exception as error:
        if not is_of_gpu(error):
            raise
        told = f"the GPU failed ({first_line(error)}): see `python -m minivit.doctor`, or use --backend numpy"
        return _fail(OUT_OF_MEMORY if is_full(error) else told, 2)


def _fail(message: str, status: int) -> int:
    terminal.say(f"error: {shown(message, MAX_MESSAGE)}")
    return status
