"""One update: what is minimised, a batch in pieces, the step on the host and on a GPU."""
