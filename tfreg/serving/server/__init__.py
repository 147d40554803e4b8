"""The server of one machine."""
