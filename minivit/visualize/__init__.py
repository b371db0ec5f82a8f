"""Pictures of what a trained model has learned: `python -m minivit.visualize`."""
