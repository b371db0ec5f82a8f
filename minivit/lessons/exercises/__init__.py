"""The exercises, a module for each notebook: `n07_attention.EXERCISES` are those of notebook 07."""
