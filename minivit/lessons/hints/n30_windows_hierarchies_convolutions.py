"""Hints for the exercises of notebook 30."""

HINTS = {
    "30.1": (
        "The number of places is a factor of both costs, so you can leave it out.",
        "For one place: four products with weights, and two D for each place that it sees. How many are these?",
        "Divide 4 D^2 + 2 D (places of the map) by 4 D^2 + 2 D (places of a window).",
    ),
    "30.2": (
        "Go backwards: the last block reads the window of `place`. Which places does the block before it read?",
        "Keep a set of places. For each block, from the last to the first, replace it by all places of their windows.",
        "Places i and j share a window that begins at s if (i - s) // m equals (j - s) // m.",
    ),
    "30.3": (
        "The forward pass copies. Where does each quarter of the features come from?",
        "Make zeros of the shape of the map, and write each part into a slice with steps of 2.",
        "The parts belong to the places (0, 0), (1, 0), (0, 1) and (1, 1) of a square, as (row, column).",
    ),
    "30.4": (
        "Write the forward pass as a sum of shifted slices of x, one for each tap.",
        "Each tap uses the slice of x from 2 a on, as long as dy. Both gradients can be found tap by tap.",
        "dx[2 a : 2 a + len(dy)] collects a product of dy for each a. dW[a] is a sum over the places of that slice.",
    ),
    "30.5": (
        "Count the blocks of the stages that attend in units.",
        "Look at `block3` in the output above: what has the first block of the next stage done?",
    ),
}
