"""Endless random pairs with the true transform, made on the accelerator."""
