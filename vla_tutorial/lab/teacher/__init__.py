"""The teacher's side of the lab: variants from a key, sheets, marks, and what is printed.

The variants of a class, and with them the answers, follow from a key that only the teacher has.
"""
