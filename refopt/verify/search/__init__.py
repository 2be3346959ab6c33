"""The search behind `diagnose`: from the plainest variant to pairs."""
