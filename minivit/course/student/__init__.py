"""The code in a student zip: Python 3.9 and NumPy only."""
