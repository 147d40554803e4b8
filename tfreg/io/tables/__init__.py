"""Tables of people and pairs."""
