"""Hints for the exercises of notebook 06b, label smoothing, the sigmoid loss and temperature."""

HINTS = {
    "6b.1": (
        "All logits are equal to the bias, whatever the image. How many questions have the answer yes, how many no?",
        "A yes costs -log sigmoid(z), a no costs -log sigmoid(-z), at z = -10. Sum them, do not average.",
        "One term softplus(10), and K - 1 terms softplus(-10).",
    ),
    "6b.2": (
        "Write the first loss as a function of the bias: one question yes, K - 1 questions no.",
        "Its derivative is sigmoid(bias) - 1 for the yes and sigmoid(bias) for each no. Where is their sum zero?",
        "There sigmoid(bias) = 1/K. Solve for the bias; it is a logarithm.",
    ),
    "6b.3": (
        "Smoothing changes the targets and nothing else. What was the gradient for any targets that sum to 1?",
        "Build the targets t from one-hot rows: np.eye(K)[labels].",
        "The gradient is (p - t) / B, with (1 - smoothing) times the one-hot rows, plus smoothing / K, for t.",
    ),
    "6b.4": (
        "Call u = z / tau. You know the gradient for u: that of notebook 06. What is left is the chain rule.",
        "du/dz is 1 / tau for every entry. The one tau is used by every entry, so its gradient is a sum over all.",
        "The derivative of z / tau with respect to tau is -z / tau^2. Multiply by du and sum.",
    ),
}
