"""Numbers of the Vision Transformer: the paper's, those that minivit computes, and what is told of them.

`docs/vit_numbers.py` makes a page of these tables.
"""
