"""Figures of episodes and of sweeps, in one style."""

from vla_tutorial.plots.curves import read_curves, training_figure
from vla_tutorial.plots.drift import ByVersion, gaps_figure, versions_figure
from vla_tutorial.plots.episode import episode_figure
from vla_tutorial.plots.style import inline_svg, save, style, use_style
from vla_tutorial.plots.sweeps import Row, Values, confusion_figure, forest_figure, histogram_figure

__all__ = [
    "ByVersion",
    "Row",
    "Values",
    "confusion_figure",
    "episode_figure",
    "forest_figure",
    "gaps_figure",
    "histogram_figure",
    "inline_svg",
    "read_curves",
    "save",
    "style",
    "training_figure",
    "use_style",
    "versions_figure",
]
