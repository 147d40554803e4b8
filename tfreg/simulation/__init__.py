"""The breathing chest."""
