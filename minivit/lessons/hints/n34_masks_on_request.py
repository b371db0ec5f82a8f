"""Hints for the exercises of notebook 34."""

HINTS = {
    "34.1": (
        "Which side of the image does x run along? A pixel is a square, and the click is in its middle.",
        "Shares of the image lie between 0 and 1. Bring them to -1 ... 1 before the product with G.",
        "The angles are (n, D/2). The sines of all of them come first.",
    ),
    "34.2": (
        "Let s be the logit with the sign of the right answer, so p = sigmoid(s). Both errors are functions of s.",
        "Use the product rule on (1 - p)^2 (-log p). What is the derivative of p with respect to s?",
        "The cross-entropy has the gradient -(1 - p). Divide by it, and put p = 0.9.",
    ),
    "34.3": (
        "Compute the error of each mask first. Which one does the smallest of them depend on?",
        "dp_i of dice is a quotient rule. Then comes the derivative of the sigmoid.",
        "Begin with zeros of the shape of z, and fill one row.",
    ),
    "34.4": (
        "What is the IoU of the inner shape with the outer one, in areas?",
        "Write the expected IoU of a mask of size s between the two. Is it convex or concave in s?",
        "The largest value of a convex function on an interval lies at one of its ends. Compare both.",
    ),
    "34.5": (
        "A logit is above 0 where the probability is above 1/2.",
        "Count the pixels in both masks, and those in at least one.",
        "The union is 0 only if both masks are empty.",
    ),
}
