"""Hints for the exercises of notebook 25."""

HINTS = {
    "25.1": (
        "List the arrays of both: matrices first, then biases.",
        "The matrices cancel. What is left is the biases in the middle, one against two.",
    ),
    "25.2": (
        "Make an array of angles for all tokens, with a row of zeros for the [class] token.",
        "`angles` and `rotate` of this notebook do the rest for queries and keys. Then it is attention as in 07.",
        "Scores are rotated queries times rotated keys, over sqrt(Dh); softmax over the keys; times v as it is.",
    ),
    "25.3": (
        "Call the normalised and scaled arrays y_q and y_k. S is their product over sqrt(Dh), as in notebook 07.",
        "First the gradients of y_q and y_k from dS. Then pull each through RMSNorm, head by head.",
        "The pullback of `rms_norm` in this notebook works on the last axis; sum dgamma over heads and tokens.",
    ),
    "25.4": (
        "How large and how small can a score be, by the bound?",
        "The weight is largest if one score is as high and all others are as low as the bound allows.",
        "Write the softmax of one score b and 64 scores -b, with b = sqrt(Dh).",
    ),
}
