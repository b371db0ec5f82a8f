"""What the grader calls. It holds the instruments of your report; your experiments live in files of their own.

Arguments and results are NumPy arrays of float64, Python numbers, lists, tuples and dicts. Arguments stay as they are.
"""

from instruments import mean_and_error, paired, power_law, training_multiply_adds

__all__ = ["mean_and_error", "paired", "power_law", "training_multiply_adds"]
