"""For the notebooks: comparisons, exercises with checks and hints, the library's source, data, short training."""

import warnings

from minivit.backend import blas
from minivit.lessons.cells import agree, filled, full_or_fast, result_file, show_source
from minivit.lessons.checking import check
from minivit.lessons.exercise import Exercise, Verdict
from minivit.lessons.hinting import hint
from minivit.lessons.running_digit import running_digit
from minivit.lessons.training import accuracy, digits, fit, photographs

if blas.cries_wolf():  # then a learner's own products are not to be believed either
    warnings.filterwarnings("ignore", blas.FALSE_ALARM, RuntimeWarning, "__main__")

__all__ = [
    "Exercise",
    "Verdict",
    "accuracy",
    "agree",
    "check",
    "digits",
    "filled",
    "fit",
    "full_or_fast",
    "hint",
    "photographs",
    "result_file",
    "running_digit",
    "show_source",
]
