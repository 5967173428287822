"""Weights of 8 and 4 bits: their arithmetic, their kernels, and how a checkpoint becomes them."""
