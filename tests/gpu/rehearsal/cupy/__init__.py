"""Not CuPy: the stand-in of the tests, for a whole process. With this folder and tests/helpers on PYTHONPATH,
the commands run their GPU side on a CPU, slowly, to be rehearsed."""

import atexit

import standin_cupy

installed = standin_cupy.installed()
installed.__enter__()  # replaces this module in sys.modules
atexit.register(lambda: installed)  # keeps it in place to the end
