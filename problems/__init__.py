"""The zoo: problems with exact derivatives. Imported as ``refopt.problems``."""
