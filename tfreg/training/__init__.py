"""Training of the registration network."""
