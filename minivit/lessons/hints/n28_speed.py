"""Hints for the exercises of notebook 28, speed and memory."""

HINTS = {
    "28.1": (
        "Count the FLOP of one entry of the result, and the bytes of the three matrices.",
        "Each of the side^2 entries takes `side` multiplications and additions. Two matrices are read, one is written.",
        "2 side^3 FLOP over 3 side^2 numbers of 4 bytes.",
    ),
    "28.2": (
        "Arithmetic and traffic take their time at the same time.",
        "Compute the time of each: an amount over a rate. Which of the two decides?",
    ),
    "28.3": (
        "You need no formula for s: the divisors of L are few.",
        "Compute the peak L/s b + s a for each s that divides L, and take the s with the smallest.",
        "`min` has an argument `key`: a function of s that returns the peak.",
    ),
    "28.4": (
        "Which part is there without any image, and which grows with the batch?",
        "Without an image: four arrays of n numbers. With each image: N D numbers for each block's input, and the "
        "activations of one block.",
        "Divide what is left of the memory by 4 bytes times the numbers per image, and round down. Can it be negative?",
    ),
    "28.5": (
        "The count is a sum, and the mean of the whole is a weighted mean of the two means.",
        "Square x_i - mean = (x_i - mean1) + (mean1 - mean) and sum over the first part. The mixed term is 0. Why?",
        "So the first part gives ss1 + n1 (mean1 - mean)^2, and the second part likewise.",
    ),
}
