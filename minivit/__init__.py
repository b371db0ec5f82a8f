"""minivit: the Vision Transformer with every derivative written by hand, on NumPy or CuPy arrays."""

__version__ = "0.1.0"
