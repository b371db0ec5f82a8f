"""Runs untrusted code in restricted processes and calls it from outside."""
