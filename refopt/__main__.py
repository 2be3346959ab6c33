"""``python -m refopt``: the command line."""

from __future__ import annotations

import sys

from refopt.cli import main

if __name__ == "__main__":
    sys.exit(main())
