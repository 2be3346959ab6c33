"""Manifolds: points, tangent vectors and the maps between them."""
