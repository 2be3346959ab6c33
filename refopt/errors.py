"""The errors of refopt, all `ValueError` or `TypeError` besides."""

from refopt.core.errors import *  # noqa: F403
