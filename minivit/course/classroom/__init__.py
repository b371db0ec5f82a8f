"""A class: what it sent, how it is graded, the pages and tables that come of it."""
