"""One policy for many clients over the network, by four protocols: `vla-tutorial serve`.

It needs the extra `serve`: pip install 'vla-tutorial[serve]'.
"""

from vla_tutorial.serve.access import Access, check_exposure
from vla_tutorial.serve.app import make_app
from vla_tutorial.serve.limits import Limits, RateLimiter, Refusal
from vla_tutorial.serve.recipe import Recipe
from vla_tutorial.serve.running import listen, make_server, raise_file_limit
from vla_tutorial.serve.service import Service, Settings

__all__ = [
    "Access",
    "Limits",
    "RateLimiter",
    "Recipe",
    "Refusal",
    "Service",
    "Settings",
    "check_exposure",
    "listen",
    "make_app",
    "make_server",
    "raise_file_limit",
]
