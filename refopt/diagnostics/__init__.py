"""Checks that a user can run on a problem of their own."""
