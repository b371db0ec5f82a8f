"""Hints for the exercises of notebook 08, multi-head attention."""

HINTS = {
    "8.1": (
        "The features of one token must become neighbours before a reshape can put the heads side by side.",
        "Undo the two moves of the split, in the opposite order.",
        "Heads and tokens change places first: the axes go from (B, H, N, Dh) to (B, N, H, Dh). Then one reshape.",
    ),
    "8.2": (
        "Write down the shapes of the two matrices of Eq. 8. Where does H occur in them?",
        "A matrix of shape (D, 3D) has 3D columns for all heads together. Each column has D weights and a bias.",
        "Two terms: the columns of U_qkv times (D + 1), and the columns of U_msa times (D + 1).",
    ),
    "8.3": (
        "Look at the table of experiment 1. Which column catches all seven mistakes, and with how many heads?",
        "Write your own version with loops, draw a random qkv, and compare the two results with np.allclose.",
        "Take B, N, heads and the width of a head all different, heads at least 2 and the width of a head too. "
        "Return whether shape and values agree.",
    ),
    "8.4": (
        "Forwards nothing is new: give k and v an axis of length 1 for the heads, and broadcasting does the rest.",
        "Go backwards as in step 3, with one gradient of k and v per head. What is the pullback of a broadcast?",
        "dq is merged as before. The gradients per head, dS^T q / sqrt(Dh) and A^T dY, are summed over the heads.",
    ),
}
