"""Hints for the exercises of notebook 21."""

HINTS = {
    "21.1": (
        "Begin with the mean of each channel over rows and columns.",
        "A level needs the first `bits` of 8 bits. By which power of 2 is the mean divided, and how is it rounded?",
        "Three levels are three digits of a number in base 2 ** bits, red first.",
    ),
    "21.2": (
        "Which of the kinds 0, 1, 2, 3 are chosen? Write that as one comparison.",
        "Collect the chosen patches of all images, then take one mean over them.",
        "dz is (p - one-hot) over the number of chosen patches. What is it where a patch does not count?",
    ),
    "21.3": (
        "Make an array of False with the block in it.",
        "Newly hidden is what is in the block and not in the mask. Count that.",
        "Compare the count with 0 and with `missing` before you join the two arrays.",
    ),
    "21.4": (
        "Cut the image into patches as in notebook 03. You get the axes row of patches, row, column of patches, "
        "column, channel.",
        "In y the channel moves slowest. Where does its axis go before the last reshape?",
        "The mean is over the hidden rows of |y - t|. The slope of |x| is the sign of x.",
    ),
    "21.5": (
        "How many squares has the image, and how many are hidden, rounded up?",
        "Translate squares into patches. Which of the two encoders gets the hidden ones?",
        "MAE hides single patches: `int(patches * (1 - share))` stay. Each encoder has one more token.",
    ),
}
