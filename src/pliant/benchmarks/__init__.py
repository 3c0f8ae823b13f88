"""pliant against what people would run otherwise: the same weights and data, in turns, in one run."""
