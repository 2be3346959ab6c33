"""How far the reference itself is from exact arithmetic: its own rounding errors (docs/precision.md)."""
