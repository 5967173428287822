"""Demonstrations, fitting and DAgger for `mini`, the small policy that this project trains itself."""
