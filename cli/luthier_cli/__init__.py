"""`luthier` and `kubectl luthier`: check, run, watch and retry fine-tuning runs.

Commands are in `commands`, with their options; what they do lies beside that folder.
Kubernetes is reached in `kube` only, through the official client and plain dicts.
`summary` and `view` are pure and serve others.
"""
