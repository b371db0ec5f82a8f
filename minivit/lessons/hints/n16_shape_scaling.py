"""Hints for the exercises of notebook 16, scaling depth, width and patches."""

HINTS = {
    "16.1": (
        "Half the side: how many new patches cover an old one?",
        "Take the [class] token away before you multiply, and put it back afterwards.",
    ),
    "16.2": (
        "Per block, write down all FLOP of products with weights; the table of this notebook has them.",
        "These are the projections of attention, 8 N D^2, and the MLP, 4 N D F. Set their sum equal to 4 N^2 D.",
        "Divide both sides by 4 N D.",
    ),
    "16.3": (
        "Sort the models by price. When does the next one belong to the front?",
        "It belongs there if it is more accurate than all cheaper ones.",
        "Where two prices are equal, the more accurate one must come first: `np.lexsort` sorts by two keys.",
    ),
    "16.4": (
        "Write a function for the price of the blocks at a given patch side, and try the sides one after the other.",
        "With side p there are (side / p)^2 tokens. The price per block is 8 N D^2 + 4 N^2 D + 4 N D F, with F = 4 D.",
        "Go through the divisors of the image's side from small to large and return the first that you can pay.",
    ),
}
