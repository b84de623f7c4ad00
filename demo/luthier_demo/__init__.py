"""The whole way once: a cluster, the chart, a tenant, two fine-tuning runs, one of them optimised,
both bundled, and what each is worth.

`install`, `tenant` and `content` are what the end-to-end tests stand on, too.
"""
