"""Sweeps: many runs on any executor, kept in a file, read again as tables, profiles and curves.

`refopt.sweep` makes one, `refopt.Sweep.open` reads one. `Serial` is an executor that runs in the calling process.
"""

from refopt.sweeps.executors import Serial

__all__ = ["Serial"]
