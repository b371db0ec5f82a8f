"""Code of strangers, run in processes that may do little, and what is asked of it from outside."""
