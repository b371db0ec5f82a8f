"""Hints for the exercises of notebook 01, autodiff."""

HINTS = {
    "1.1": (
        "An op returns its value and a function vjp. vjp(g) multiplies g by the derivative with respect to each "
        "argument.",
        "Write z = x (1/y). The derivative with respect to x is 1/y; the derivative of 1/y is -1/y^2.",
        "dy is g times -x/y^2, and x/y^2 is z/y.",
    ),
    "1.2": (
        "Draw the graph. Which values are used twice, and by whom?",
        "Both c and d use b, and both d and e use c. What happens if a pullback runs when only one of two portions "
        "has arrived?",
        "e sends a portion to c at once. So c may run before d, which has another portion for it.",
    ),
    "1.3": (
        "Write one line for each line of the forward pass, from u to the loss, with the dot of each result.",
        "A product has two factors that may move, but x does not. For tanh multiply by its derivative at s.",
        "u_dot is the inner product of a_dot and x; s_dot adds b_dot; y_dot is (1 - y^2) s_dot. Two more lines are "
        "left.",
    ),
    "1.4": (
        "A value may be listed only when all values that use it have been listed.",
        "Either count for each value how many uses are still to come, and list it when the count is 0. Or walk "
        "depth first, list a value after all its inputs, and turn the list round.",
        "For the count, first visit every value once to count its uses. Then keep a list of values with no use "
        "left, beginning with the loss: take one, list it, lower the counts of its inputs. Keep `inputs` so that "
        "you ask once.",
    ),
}
