"""What a process may use of the machine, and how it tells of its work."""
