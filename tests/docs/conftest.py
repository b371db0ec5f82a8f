"""The pages are made by scripts in docs/, which are no package: here they are found."""

import sys
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"

sys.path[:0] = [str(DOCS), str(DOCS / "_extensions")]
