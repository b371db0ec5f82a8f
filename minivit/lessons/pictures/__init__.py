"""Pictures of the ideas, drawn before the algebra begins: one file for each subject, `sketch` draws their parts.

A notebook calls them by subject: `from minivit.lessons.pictures import patches`, then `patches.to_tokens(image, 2)`.
They need matplotlib, which the notebooks have.
"""
