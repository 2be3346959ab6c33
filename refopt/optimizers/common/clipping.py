"""The factor that shortens a vector to a length."""

from __future__ import annotations


def shortening(length: float, threshold: float, most: float = 1.0) -> float:
    """Return ``min(most, threshold / length)``, `most` for a vector of length zero."""
    return min(most, threshold / length) if length > 0.0 else most
