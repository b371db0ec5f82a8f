"""Hints for the exercises of notebook 06, softmax and loss."""

HINTS = {
    "6.1": (
        "Which number can you subtract from every exponent, so that none is positive?",
        "Subtract the largest logit of each row, take the logarithm of the sum, and undo the subtraction.",
        "log sum e^z = m + log sum e^(z - m). Mind the shape: z is (B, K), m needs (B, 1), the result is (B,).",
    ),
    "6.2": (
        "What does the second softmax get as logits? Which logits are the best ones, among those that it can get?",
        "At best the first softmax gives 1 to the right class and 0 to the nine others. These are the logits now.",
        "The loss is log-sum-exp minus the logit of the right class, for one logit of 1 and nine of 0.",
    ),
    "6.3": (
        "z goes two ways into y: directly, and through lse. Add what comes back along both.",
        "Each row has one lse, and it is subtracted from all entries of the row: dlse is minus a sum.",
        "The derivative of lse with respect to z is the softmax p, so the second path brings p times dlse.",
    ),
    "6.4": (
        "Go over the blocks twice. What must be known before the first probability can be computed?",
        "First time: keep for each row the largest logit so far, from -inf on, and the sum of e^(z - largest). Rescale "
        "the sum when the largest rises. Note the logit of the label on the way.",
        "Second time: dz of a block is e^(z - lse), minus 1 for the label if it is in this block, over B. Add dz W^T "
        "to dx and write x^T dz into dW, with the block's columns.",
    ),
}
