"""Methods whose state is smaller than Adam's: low-rank projections of gradients and factored weights."""
