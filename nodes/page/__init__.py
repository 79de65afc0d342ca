"""What the pack's own page asks the server for."""
