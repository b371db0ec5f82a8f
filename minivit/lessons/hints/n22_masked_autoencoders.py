"""Hints for the exercises of notebook 22."""

HINTS = {
    "22.1": (
        "Follow one patch: it stands at place j, so `order[b, j]` is its number. Which entry of `back` is then known?",
        "You know the whole of `back[b]` once you have visited all places j of `order[b]`.",
        "Write into `back` at the index that `order` names: `np.put_along_axis`, or a loop over b and j.",
    ),
    "22.2": (
        "Choose the missing rows first; visible ones do not occur in the loss.",
        "The mean runs over missing patches and their pixels together: how many numbers are that?",
        "A square has the slope 2(y - x). Divide by the number of terms, and leave the rows of visible patches at 0.",
    ),
    "22.3": (
        "Each row of `dy` belongs to one entry of the list: `back[i]` says to which.",
        "Patches with `back[i] < visible` hold tokens of the encoder. All other rows belong to the one [mask] token.",
        "`dx[back[i]] = dy[i]` for visible patches; `dm` is the sum of the rows of all others.",
    ),
    "22.4": (
        "Begin as in notebook 05: x enters through itself, through the mean and through the deviation.",
        "A row of dx is a combination of three vectors: dz, t and ones. Only one factor changes when "
        "the variance is divided by n - 1.",
        "dx = (dz - mean(dz) - c t) / sqrt(s^2 + 1e-6). The number c of a row is a sum over dz and t, over n - 1.",
    ),
}
