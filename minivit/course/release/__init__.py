"""Builds the files to hand out, and tests them first."""
