"""Low-rank recovery: gradient methods on factors."""
