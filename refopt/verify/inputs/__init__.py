"""What both sides are given: tapes, Hessians, problems, calls, and profiles of hyperparameters."""
