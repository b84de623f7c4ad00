"""The trainer: one run spec in, one measured model out.

`python -m luthier_trainer RUNSPEC.json` runs the stages of `main.py` in order. Nothing
that is slow to import (torch, transformers) is loaded before the cheap checks are done.
"""
