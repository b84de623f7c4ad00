"""The commands: one file each, with its options, its help and what it calls.

Each imports what it needs when it is called, so that `luthier --help` stays quick.
"""
