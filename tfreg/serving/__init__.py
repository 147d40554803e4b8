"""Export for TensorFlow Serving, a server of its API, and a client."""
