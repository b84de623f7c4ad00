"""The operator: watches with kopf, remembers in a store, reconciles from a queue."""
