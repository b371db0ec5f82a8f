"""Hints for the exercises of notebook 35."""

HINTS = {
    "35.1": (
        "Write both counts of (4) as functions of the number of frames.",
        "Does the ratio of the two only grow with the number of frames? Then a search from one frame on finds it.",
        "Count up from one frame, and stop as soon as the joint scores are at least `factor` times the divided ones.",
    ),
    "35.2": (
        "Split the axis of the tubelets into rows and columns, and the last one into frame, row, column, channel.",
        "Each axis of the clip belongs to two of the split axes: frames to slice and frame of the tubelet, and so on.",
        "Bring the two axes of each pair next to each other, the coarse one first, and merge them by a reshape.",
    ),
    "35.3": (
        "Write down, for two places and three frames, which place and which frame each row belongs to.",
        "Of the two numbers one changes from row to row. The other stays for a while.",
        "`np.repeat` makes copies that stand together, `np.tile` sets whole tables behind each other.",
    ),
    "35.4": (
        "What does each change do to an arrow that points to the left? And to one that points up?",
        "Each change is a table of four labels. Two changes are one table after the other.",
    ),
}
