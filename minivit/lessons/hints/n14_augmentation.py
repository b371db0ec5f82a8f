"""Hints for the exercises of notebook 14, augmentation and regularisation."""

HINTS = {
    "14.1": (
        "What tells the classes apart: where the lamp is in the picture, which shape it has, or something else?",
        "Ask for each change whether a person would still name the same class.",
    ),
    "14.2": (
        "One factor per image: 0 where the branch is dropped, else what dropout divides by. Which shape must it have "
        "to multiply (B, N, D)?",
        "z' = z + m f has two paths backwards. The gradient of z goes past the branch unchanged.",
        "The gradient of f goes through the same factors m as f itself.",
    ),
    "14.3": (
        "How often does an image go through one block with a known rate? The blocks add up.",
        "What is the mean of L numbers that rise linearly from 0 to the last rate?",
    ),
    "14.4": (
        "Find the side first: how does the area of the box grow with it, and which share of the image should it be?",
        "Compute top and left, then bottom and right from the full height and width, and only then cut all four off at "
        "the edges of the image.",
        "Count the pixels of the box that is left. Label i keeps 1 minus their share of the image, which may be more "
        "than lam.",
    ),
}
