"""`luthier` and `kubectl luthier`: check, run, watch and retry fine-tuning runs.

Commands are in `main`; each imports what it needs when it is called, so that
`luthier --help` stays quick. Kubernetes is reached in `kube` only, through the
official client and plain dicts. `summary` and `view` are pure and serve others.
"""
