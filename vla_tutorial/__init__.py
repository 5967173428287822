"""Run, break, measure and understand a vision-language-action policy.

This is a companion to a book chapter on OpenVLA and LIBERO.
"""

__version__ = "0.1.0"
