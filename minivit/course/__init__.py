"""Course assignments: releases, grading, and the gate that every wrong answer has to fail at.

`python -m minivit.course --help` lists the commands.
"""
