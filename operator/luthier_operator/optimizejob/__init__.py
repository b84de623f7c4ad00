"""OptimizeJob: accepted, and said plainly not to be reconciled yet."""
