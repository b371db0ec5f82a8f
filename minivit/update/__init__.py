"""One update: the objective, a batch in pieces, the step on the host and on a GPU."""
