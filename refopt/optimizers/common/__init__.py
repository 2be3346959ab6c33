"""Steps that several papers share: averages, decay, norms, projections."""
