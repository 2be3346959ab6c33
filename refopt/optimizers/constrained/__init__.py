"""Methods for composite and constrained problems."""
