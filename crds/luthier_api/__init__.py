"""The API of Luthier, and its only source of truth.

Custom resources (`finetunejob`, `optimizejob`, `adapterbundle`), the platform's
file (`platform`), and the three JSON documents that operator and trainer
exchange: `runspec` (a run's order), `progress` (its reports) and `result` (its
end). Nothing here imports more than pydantic and the standard library, but for
the generator of the CRDs, which writes YAML.
"""

GROUP = "luthier.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
