"""The calls on which functions are compared, kind by kind, and the faults that are known of them."""
