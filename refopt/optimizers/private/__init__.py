"""Private optimization: clipped gradients of single examples, noise, and what it costs."""
