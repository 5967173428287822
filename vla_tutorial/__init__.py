"""Run, break, measure and understand a vision-language-action policy.

A companion to a book chapter on OpenVLA and LIBERO.
"""

__version__ = "0.1.0"
