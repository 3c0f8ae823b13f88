"""Forward and backward of a tiny Llama in one compiled loop: numba, no torch, a token in each lane of a vector."""

LANES = 16
"""Tokens that are computed at once: fp32 numbers in 512 bits."""
