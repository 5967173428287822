"""Weights of 8 and 4 bits (int8, fp8, int4): their arithmetic, their kernels, and how a checkpoint becomes them."""
