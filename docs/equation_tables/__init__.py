"""The equations of Dosovitskiy et al. 2020 (arXiv:2010.11929v2) and of its recipe: who computes and who tests them.

`docs/equation_map.py` makes a page of these tables.
"""

from equation_tables.equation import Equation
from equation_tables.others import OTHERS
from equation_tables.paper import NUMBERED

EQUATIONS = (*NUMBERED, *OTHERS)

__all__ = ["EQUATIONS", "Equation"]
