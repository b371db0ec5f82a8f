"""Hints for the exercises: one file for each notebook, with a dictionary from a number to one, two or three texts."""
