"""Recordings of published code, computed again: one file a system, used by `python -m minivit.lineage verify`."""
