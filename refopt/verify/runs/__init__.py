"""Both sides run on the same inputs, and how far rounding may part them."""
