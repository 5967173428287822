"""The page in which the policy acts in MuJoCo, in the reader's browser: what it is built from.

`vla-tutorial live build` writes a folder that any web server can show. The page's own modules are
in `page/`; what they need of LIBERO, MuJoCo and the policy is exported from the installed packages,
so that the page and this library cannot drift apart.
"""

from vla_tutorial.live.build import LiveOptions, build

__all__ = ["LiveOptions", "build"]
