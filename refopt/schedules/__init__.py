"""Schedules: multipliers of a method's rate, as functions of the step."""
