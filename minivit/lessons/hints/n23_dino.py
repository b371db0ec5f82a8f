"""Hints for the exercises of notebook 23."""

HINTS = {
    "23.1": (
        "Fix one of the teacher's two crops. With how many of the student's crops does it make a pair?",
        "The student has 2 + V crops, and one of them is the crop itself.",
    ),
    "23.2": (
        "Write it first as two loops, over the teacher's crops i and the student's crops j, and leave out j = i.",
        "The target of crop i is a softmax of (t - c) / tau_t. It is a constant for the gradient.",
        "Each pair adds (p_j - target_i) to crop j. Divide by tau_s, by the images and by the number of pairs.",
    ),
    "23.3": (
        "Take one row first: the notebook derives dv and dg for it.",
        "You need three sums along each row: the length of v, and the product of its direction with dW.",
        "With U the rows of length 1, dg is the row sum of U * dW. Keep the axis for dv, so that the sums broadcast.",
    ),
}
