"""Hints for the exercises of notebook 08, multi-head attention."""

HINTS = {
    "8.1": (
        "The features of one token must become neighbours before a reshape can put the heads side by side.",
        "Which order of the four axes makes the features of one token neighbours, head after head?",
        "A transpose to (B, N, H, Dh), then one reshape. Which old axis becomes axis 0, and which becomes axis 2?",
    ),
    "8.2": (
        "Write down the shapes of U_qkv (Eq. 5) and U_msa (Eq. 8). Where does H occur in them?",
        "A matrix of shape (D, 3D) has 3D columns for all heads together. Each column has D weights and a bias.",
        "U_msa adds its own columns, each with as many weights and a bias. Does either number of columns depend on H?",
    ),
    "8.3": (
        "Look at the table of experiment 1. Which column catches all seven mistakes, and with how many heads?",
        "Write your own version with loops, draw a random qkv, and compare the two results with np.allclose.",
        "Which lengths hide mistakes if they are equal, or equal to 1? Choose B, N, heads and the width of a head so "
        "that none of this happens.",
    ),
    "8.4": (
        "Forwards nothing is new: give k and v an axis of length 1 for the heads, and broadcasting does the rest.",
        "Go backwards as in step 3, with one gradient of k and v per head. What is the pullback of a broadcast?",
        "dq is merged as before. The gradients per head, dS^T q / sqrt(Dh) and A^T dY, are summed over the heads.",
    ),
}
