"""Answers to long exercises, right or with one of the slips that are made in writing them, for their judges."""
