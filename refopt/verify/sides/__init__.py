"""The other implementation, in whatever library: what a comparison asks of it, and an adapter for each."""
