"""The player: two recorded episodes side by side, in JupyterLab and on the static website."""

from vla_tutorial.player.clip_script import read_clip_script
from vla_tutorial.player.episode_data import series as log_series
from vla_tutorial.player.view import Player, show_episodes

__all__ = ["Player", "log_series", "read_clip_script", "show_episodes"]
