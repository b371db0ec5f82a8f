"""Hints for the exercises of notebook 32."""

HINTS = {
    "32.1": (
        "Write the change of one output as a sum over the inputs. How many terms does it have?",
        "Look at the signs of the terms: do they cancel? Then divide the sums at the two widths.",
    ),
    "32.2": (
        "Three steps: the gradient of W, its update, the change of y.",
        "One update of Adam keeps only the sign of each entry of the gradient. The gradient is a sum over all tokens.",
        "The update is a matrix of entries +eta and -eta. Multiply the tokens by it, as they are multiplied by W.",
    ),
    "32.3": (
        "How many sides of the matrix grow? With fewer than two, nothing changes.",
        "m is the growth of the side over which the layer sums.",
        "The product of rate and decay is the same as before.",
    ),
    "32.4": (
        "The layer sees only the product of factor and W. Follow this product at the start, and in one update.",
        "Adam moves W by its rate, so the product moves by its factor times the rate. The decay takes away "
        "the share rate times decay of it.",
        "Deviation times `factor`, and rate times `factor`, have to be what they were. Then look at rate times decay.",
    ),
    "32.5": (
        "Which parameters have the tokens before the first block passed?",
        "By which factor do their changes shrink when the width doubles?",
    ),
}
