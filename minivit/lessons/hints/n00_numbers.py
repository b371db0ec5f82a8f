"""Hints for the exercises of notebook 00, numbers."""

HINTS = {
    "0.1": (
        "Which two powers of two does x lie between? Between them all numbers are equally far apart.",
        "Between 1 and 2 the distance is 2^-52, between 2 and 4 it is twice that. How often was it doubled or "
        "halved on the way to x?",
        "`math.floor(math.log2(x))` is the exponent of the power of two just below x.",
    ),
    "0.2": (
        "Do step 5 again, with the other formula: differentiate err with respect to the step.",
        "The derivative of step/2 |f''| is a constant, that of 2 eps |f| / step falls with the square of the step.",
        "You get |f''|/2 = 2 eps |f| / step^2. Solve for the step.",
    ),
    "0.3": (
        "Step 5 has a formula for the best step. It depends on |f'''|.",
        "Put in the eps of float32, |f| = 1 and |f'''| = 0.001. The step comes out larger than for tanh.",
        "(3 eps |f| / |f'''|) to the power 1/3, with eps = 2^-23.",
    ),
    "0.4": (
        "Make one number of the op's result with random weights G. Then compare a measured slope with a predicted one.",
        "Take a random direction V: the slope is (loss(X + step V) - loss(X - step V)) / (2 step), and the "
        "prediction is the inner product of vjp(G) and V. One direction may miss a wrong entry: take several, with "
        "no entry near 0.",
        "Compare relative to the larger of the two sides, with a tolerance of about 1e-6. If the terms of the inner"
        " product cancel, measure the error relative to the sum of their absolute values.",
    ),
}
