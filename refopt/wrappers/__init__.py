"""A method around a method."""
