"""A class: its submissions, their grading, and the resulting pages and tables."""
