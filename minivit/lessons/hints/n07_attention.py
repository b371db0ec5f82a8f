"""Hints for the exercises of notebook 07, scaled dot-product attention."""

HINTS = {
    "7.1": (
        "What are the scores of a query of zeros, and what does the softmax make of N equal scores?",
        "All N weights are equal and sum to 1. The result is the sum of the values with these weights.",
    ),
    "7.2": (
        "Change the scores before the softmax, so that the weights of each row still sum to 1.",
        "np.tri(N, dtype=bool) is True where j <= i. Choose with np.where between the score and -np.inf.",
        "Then as before: subtract the largest score of the row, exp, divide by the row's sum, multiply by v.",
    ),
    "7.3": (
        "Where the mask stands, A is 0. What is dS = A * (dA - r) there?",
        "Compute the masked A as in 7.2. Then steps 1, 2 and 3 of the notebook, with this A.",
        "dA = dY v^T and dv = A^T dY; dS = A * (dA - row sums of dA * A); dq and dk are products with dS / sqrt(D_h).",
    ),
    "7.4": (
        "Suppose only the first block existed: which two sums and which maximum would you keep, and what would Y be?",
        "When the maximum rises from m to m_new, everything summed so far was e^(m_new - m) times too large.",
        "For each block: m_new = max(m, largest score); multiply both sums by e^(m - m_new); add e^(S - m_new) to one, "
        "and its product with v to the other. Begin with m = -inf, and divide at the end.",
    ),
    "7.5": (
        "At which number of tokens are 3 N D^2 and 2 N^2 D equal?",
        "You need more tokens than 3/2 of D. One token is [class], the others form a square of patches.",
        "Find the smallest n with n^2 + 1 > 1152. The side is 16 n pixels.",
    ),
}
