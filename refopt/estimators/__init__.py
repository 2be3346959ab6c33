"""Estimators: a gradient's place is taken by an estimate, whatever method steps with it."""
