"""The page in which the policy acts in MuJoCo, in the reader's browser: what it is built from.

`vla-tutorial live build` writes a folder that any web server can show. The page's own modules are
in `page/`; what they need of LIBERO, MuJoCo and the policy is exported from the installed packages,
so that the page and this library cannot drift apart. `Live` shows the page in a notebook.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vla_tutorial.live.build import LiveOptions, build
    from vla_tutorial.live.widget import Live

__all__ = ["Live", "LiveOptions", "build"]


def __getattr__(name: str) -> Any:
    """Import what is asked for: only building needs torch, and only the widget anywidget."""
    if name == "Live":
        from vla_tutorial.live.widget import Live

        return Live
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from vla_tutorial.live.build import LiveOptions, build

    # Importing the module `build` has put it in the function's place.
    globals().update(LiveOptions=LiveOptions, build=build)
    return globals()[name]
