"""Studies of published figures, by name."""
