"""Optimal transport: Sinkhorn and its relatives."""
