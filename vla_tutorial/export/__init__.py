"""Recorded episodes in other tools' forms: a LeRobot data set, or Rerun recordings.

They need the extra `export`: pip install 'vla-tutorial[export]'.
"""

from vla_tutorial.export.recorded import RecordedEpisode, read_episode

__all__ = ["RecordedEpisode", "read_episode"]
