"""The reference, changed in one place or two: candidates, named deviations, and small edits of its text."""
