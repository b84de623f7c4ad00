"""Configurations of other tools become manifests.

One module a tool, with a table of its fields: what each is here, or why it has no counterpart.
`mapping` reads a configuration by such a table into drafts of manifests, `settle` makes these
valid, `manifest` writes them with comments, `report` tells what became of each field.
"""
