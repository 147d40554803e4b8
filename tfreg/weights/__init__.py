"""Data files alone: the weights that ship, the config that says how to feed them, and their model card."""
