"""What an implementation does, in numbers: short experiments on either side of a comparison."""
