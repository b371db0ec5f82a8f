"""Exercises of notebook 23, DINO."""

from functools import partial

import numpy as np

from minivit.lessons.diagnosis import diagnosed
from minivit.lessons.exercise import Exercise
from minivit.lessons.judges import function_like


def _softmax(z: np.ndarray) -> np.ndarray:
    powers = np.exp(z - z.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def _dino(s, t, c, tau_s, tau_t, slip=""):
    """The loss over pairs of different crops, and its gradient at the student's logits; or with one slip."""
    if slip == "temperatures":
        tau_s, tau_t = tau_t, tau_s
    shift = {"no centre": 0.0, "plus": -c}.get(slip, c)
    q, p = _softmax((t - shift) / tau_t), _softmax((s if slip != "student" else s - c) / tau_s)
    if slip == "centre after":
        q = _softmax(t / tau_t - c)
    own = 1.0 * (slip == "same")
    together = np.array([[own if i == j else 1.0 for j in range(s.shape[1])] for i in range(t.shape[1])])
    if slip == "global":
        together[:, t.shape[1] :] = 0
    if slip == "one way":
        together[1:] = 0
    count = {"sum": 1.0, "no pairs": len(s)}.get(slip, len(s) * together.sum())
    loss = -np.einsum("ij,bik,bjk->", together, q, np.log(p)) / count
    ds = (together.sum(axis=0)[:, None] * p - np.einsum("ij,bik->bjk", together, q)) / count
    return loss, ds / (1.0 if slip == "no tau" else tau_s)


_DINO_SLIPS = {
    "same": "A crop is compared with itself, which teaches nothing: leave out the pairs with i = j.",
    "no centre": "The centre is not subtracted from the teacher's logits.",
    "plus": "The centre is added; it is to be subtracted.",
    "student": "The centre belongs to the teacher alone; the student's logits stay as they are.",
    "centre after": "Subtract the centre before dividing by the temperature.",
    "temperatures": "The temperatures are exchanged: the teacher's is the lower one.",
    "global": "The student's local crops are missing: j runs over all crops, i over the teacher's.",
    "one way": "Only the teacher's first crop is used; i runs over both.",
    "sum": "The loss is a mean over images and pairs; this is a sum.",
    "no pairs": "The loss is a mean over the pairs too: divide by their number.",
    "no tau": "The loss is right. ds: the chain rule through s / tau_s brings a factor 1 / tau_s.",
}


def _answers(rng: np.random.Generator) -> list[tuple]:
    return [
        (
            scale * rng.standard_normal((batch, crops, outputs)),
            scale * rng.standard_normal((batch, 2, outputs)),
            rng.standard_normal(outputs),
            *temperatures,
        )
        for batch, crops, outputs, scale, temperatures in (
            (3, 4, 5, 1, (0.5, 0.3)),
            (1, 2, 6, 1, (0.9, 0.4)),
            (2, 5, 3, 0.2, (0.1, 0.04)),
        )
    ]


def _weight_norm(v, g, dW, slip=""):
    """dv and dg of W = g v / |v|, row by row; or with one slip."""
    length = np.sqrt((v * v).sum(axis=1, keepdims=True))
    u = v / length
    along = (u * dW).sum(axis=1, keepdims=True)
    if slip == "whole":
        length = np.sqrt((v * v).sum())
    dv = g[:, None] / length * (dW - (0.0 if slip == "no projection" else u * along))
    factors = {"no g": 1 / g[:, None], "no length": length, "square": 1 / length}
    dv = dv * factors.get(slip, 1.0) + (slip == "plus") * 2 * g[:, None] / length * u * along
    dg = (v * dW).sum(axis=1) if slip == "dg" else along[:, 0]
    return dv, dg


_NORM_SLIPS = {
    "no projection": "dv lacks a part: |v| depends on v as well, which takes away what points along v.",
    "plus": "dv: what points along v is taken away, not added.",
    "no g": "dv: W is g times a direction, so the factor g appears in the gradient.",
    "no length": "dv: the derivative of v / |v| is 1 / |v| times a projection; the factor 1 / |v| is missing.",
    "square": "dv: one division by |v| too many.",
    "whole": "Every row has its own length: sum v^2 over the row, not over the whole array.",
    "dg": "dg: the derivative of W by g is the direction v / |v|, of length 1, not v.",
}


EXERCISES = [
    Exercise(
        "23.1",
        diagnosed(
            lambda V: 2 * (V + 1),
            lambda rng: [(8,), (0,), (3,), (10,), (1,)],
            {
                "A crop is not compared with itself: each of the teacher's two crops has V + 1 partners.": (
                    lambda V: 2 * (V + 2)
                ),
                "The teacher sees two crops, and each of them has its partners: twice as many.": lambda V: V + 1,
                "The two large crops are compared with each other too, both ways.": lambda V: 2 * V,
                "The teacher sees the two large crops alone, so i is one of two.": lambda V: (V + 2) * (V + 1),
                "A pair has an order, which crop the teacher sees: the two large crops make two.": lambda V: 2 * V + 1,
                "Count pairs, not crops.": lambda V: V + 2,
            },
            terms={"V": lambda V: V, "no letter": lambda V: 1, "V^2": lambda V: V * V},
        ),
        "With the paper's eight local crops 16 of the 18 pairs ask the student to guess the whole from a part.",
    ),
    Exercise(
        "23.2",
        function_like(
            _dino,
            _answers,
            {hint: partial(_dino, slip=slip) for slip, hint in _DINO_SLIPS.items()},
            allowed=("softmax", "log_softmax"),
            results="L ds",
        ),
        "As with any cross-entropy: what the student says, less what it is asked to say.",
    ),
    Exercise(
        "23.3",
        function_like(
            _weight_norm,
            lambda rng: [
                (rng.standard_normal((rows, width)), rng.standard_normal(rows), rng.standard_normal((rows, width)))
                for rows, width in ((3, 5), (4, 2), (2, 6))
            ],
            {hint: partial(_weight_norm, slip=slip) for slip, hint in _NORM_SLIPS.items()},
            allowed=(),
            results="dv dg",
        ),
        "dv is at right angles to v, so a step can only make v longer: the layer takes smaller turns as it learns.",
    ),
]
