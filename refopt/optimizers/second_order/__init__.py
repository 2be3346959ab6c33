"""Methods that ask for curvature."""
