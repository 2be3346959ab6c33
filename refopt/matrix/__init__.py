"""Matrix functions: roots, inverses, norms, polar factors, SPD geometry."""
