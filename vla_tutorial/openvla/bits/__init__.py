"""Weights in int8, fp8 and int4: their arithmetic, their kernels, and how they are loaded."""
