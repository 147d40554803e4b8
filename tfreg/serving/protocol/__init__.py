"""What client and server both know."""
