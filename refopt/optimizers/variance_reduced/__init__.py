"""Methods that correct a stochastic gradient by an older one."""
