"""A judge of functions that locates an unknown mistake: in terms of a formula, or in certain cases."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minivit.lessons.differences import Arrays, distance, fitted
from minivit.lessons.exercise import Wrong
from minivit.lessons.judges import arrays, call, function_like


@dataclass(frozen=True)
class diagnosed(function_like):
    """A `function_like` that says more about an answer without a known mistake.

    terms: name -> a function of the arguments. The right answer, a number, is a sum of multiples of them. If the given
    answer is such a sum too, the verdict says which terms are right. There must be more cases than terms.
    where: words that follow "where" -> a condition on the arguments. The verdict mentions it if the answer is wrong
    only in such cases.
    explained: a function of the arguments and results of a wrong case, which returns a sentence or "".
    also: a function whose results are right too, such as another convention.
    advice: a hint for an unknown mistake.
    """

    terms: Mapping[str, Callable[..., float]] = field(default_factory=dict)
    where: Mapping[str, Callable[..., bool]] = field(default_factory=dict)
    explained: Callable[[tuple, Arrays], str] | None = None
    also: Callable | None = None
    advice: str = ""

    def __call__(self, answer: Any) -> str | None:
        fault = super().__call__(answer)
        if fault is None or fault in self.mistakes or self._agrees_with_also(answer):
            return fault if fault in self.mistakes else None
        try:
            with np.errstate(all="ignore"):
                more = self._wrong_terms(answer) or self._explained(answer) or self._wrong_cases(answer)
        except (Wrong, np.linalg.LinAlgError):  # what the answer raised is in `fault` already
            more = ""
        return " ".join(filter(None, (more, fault, self.advice)))

    def _agrees_with_also(self, answer: Any) -> bool:
        other = (
            None if self.also is None else function_like(self.also, self.cases, rtol=self.rtol, allowed=self.allowed)
        )
        return other is not None and other(answer) is None

    def _results(self, answer: Any) -> tuple[list[tuple], list[Arrays], list[Arrays]]:
        """Of every case: the arguments, what the answer returns, and the reference."""
        tried = [tuple(args) for args in self.cases(np.random.default_rng(0))]
        wanted = [arrays(call(self.reference, *args)) for args in tried]
        returned = [call(answer, *args, allowed=self.allowed) for args in tried]
        return tried, [fitted(result, right) for result, right in zip(returned, wanted, strict=True)], wanted

    def _wrong_terms(self, answer: Any) -> str:
        tried, got, wanted = self._results(answer)
        if not self.terms or any(a.size != 1 for (a,) in got):
            return ""
        values = np.array([[term(*args) for term in self.terms.values()] for args in tried], float)
        values /= np.abs(values).max(axis=0)
        found, right = (_coefficients(values, np.array([x.item() for (x,) in part], float)) for part in (got, wanted))
        if found is None or right is None:
            return ""
        size = 1e-6 * np.abs(right).max()
        wrong = np.abs(found - right) > size
        good = [name for name, bad, c in zip(self.terms, wrong, right, strict=True) if not bad and abs(c) > size]
        bad = [name for name, bad in zip(self.terms, wrong, strict=True) if bad]
        if not good or not bad:
            return ""
        return f"The terms with {', '.join(good)} are right; those with {', '.join(bad)} are not."

    def _wrong_cases(self, answer: Any) -> str:
        tried, got, wanted = self._results(answer)
        right = self._right(got, wanted)
        special = {words: [bool(holds(*args)) for args in tried] for words, holds in self.where.items()}
        for words in sorted(special, key=lambda words: sum(special[words])):
            if any(right) and all(r or s for r, s in zip(right, special[words], strict=True)):
                return f"Of the cases tried, it is wrong only where {words}."
        return ""

    def _right(self, got: list[Arrays], wanted: list[Arrays]) -> list[bool]:
        return [distance(a, b) <= self.rtol for a, b in zip(got, wanted, strict=True)]

    def _explained(self, answer: Any) -> str:
        if self.explained is None:
            return ""
        tried, got, wanted = self._results(answer)
        said = [
            self.explained(args, result)
            for args, result, right in zip(tried, got, self._right(got, wanted), strict=True)
            if not right
        ]
        return next(filter(None, said), "")


def _coefficients(values: np.ndarray, results: np.ndarray) -> np.ndarray | None:
    """The multiples of the columns of `values` that give `results`, or None if none do."""
    if not np.isfinite(results).all():
        return None
    found = np.linalg.lstsq(values, results, rcond=None)[0]
    return found if np.abs(values @ found - results).max() <= 1e-8 * np.abs(results).max() else None
