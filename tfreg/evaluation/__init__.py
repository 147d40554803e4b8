"""Methods compared on many pairs."""
