"""What the README promises about itself."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_reading_path_of_one_step_is_under_1800_lines():
    path = re.findall(r"^\d+\. \[`(minivit/[\w/]+\.py)`\]", README, flags=re.M)
    assert len(path) > 10
    assert sum((ROOT / file).read_text(encoding="utf-8").count("\n") for file in path) < 1800


def test_the_softmax_shown_is_the_softmax_that_runs():
    shown = README.split("```python\ndef softmax")[1].split("```")[0]
    source = (ROOT / "minivit/ops/normalisation.py").read_text(encoding="utf-8")

    def code(text):
        return [line.split("  #")[0].rstrip() for line in text.splitlines()[1:] if line.strip()]

    assert "\n".join(code(shown)) in "\n".join(code(source))


# Figures


FIGURE = r"about 97\.7 % of the 359\stest\simages\W+96\.9 to 98\.6 % by seed"


@pytest.mark.parametrize("page", ["README.md", "docs/index.md", "docs/training.md", "docs/inside.md"])
def test_the_accuracy_on_digits_is_a_range_and_the_same_everywhere(page):
    assert re.search(FIGURE, (ROOT / page).read_text(encoding="utf-8"))
