"""Optimizers, one file a paper family."""
