"""Methods on manifolds."""
