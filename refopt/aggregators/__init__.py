"""Aggregators: from the gradients of several objectives to one direction."""
