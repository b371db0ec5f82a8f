"""Hints for the exercises of notebook 12, optimisers."""

HINTS = {
    "12.1": (
        "Start from m_0 = v_0 = 0 and write down m_1 and v_1. Then correct both.",
        "The corrections divide by 1 - b1 and 1 - b2. What is left of m and v, in terms of g alone?",
        "The root of g^2 is the absolute value of g. What is g over its absolute value?",
    ),
    "12.2": (
        "Take all entries of both arrays as one long vector, and find its length.",
        "Both arrays are multiplied by the same factor, which is never above 1.",
        "Gradients of zero have the norm 0: treat norms up to the limit first, and divide only beyond it.",
    ),
    "12.3": (
        "Without a gradient, what does one update of AdamW multiply the kernel by?",
        "After n updates that factor is there n times. Set the product to one half.",
        "Take logarithms on both sides and solve for n. Take the exact factor, not an approximation for small lr * wd.",
    ),
    "12.4": (
        "Compare only the two decay terms: ours has the learning rate of the step and weight_decay as factors.",
        "Set the two terms equal. The learning rate of the step and theta cancel.",
        "weight_decay is lambda' divided by something that the recipe names.",
    ),
    "12.5": (
        "Write Adam for matrices first, as in this notebook. Only v is replaced.",
        "Keep r, one number per row, and c, one per column. Correct both by 1 - b2^t before you use them.",
        "v_hat is an outer product of the two, divided by the mean of the corrected r. Take the root, then add eps.",
    ),
}
