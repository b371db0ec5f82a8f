"""Answers to long exercises, right or with a typical slip, for their judges."""
