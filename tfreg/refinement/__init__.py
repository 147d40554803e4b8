"""One pair, optimised."""
