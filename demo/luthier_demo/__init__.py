"""The whole way once: a cluster, the chart, a tenant, a fine-tuning run, a report.

`install`, `tenant` and `content` are what the end-to-end tests stand on, too.
"""
