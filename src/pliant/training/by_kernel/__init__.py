"""Tiny models trained and evaluated by `pliant.kernel`."""
