"""Pictures of the ideas, shown before the algebra: one file for each subject; `sketch` draws their parts.

A notebook imports them by subject: `from minivit.lessons.pictures import patches`, then `patches.to_tokens(image, 2)`.
They need matplotlib, which the notebooks have.
"""
