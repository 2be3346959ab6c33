"""Methods that ask for gradients alone."""
