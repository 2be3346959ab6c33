"""Optimizers that ask for values, or for derivatives along a direction, and never for a gradient."""
