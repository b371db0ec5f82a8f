"""Course assignments: releases, grading, and the gate, which checks that every known wrong answer fails.

`python -m minivit.course --help` lists the commands.
"""
