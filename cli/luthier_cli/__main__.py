"""`python -m luthier_cli`."""

from luthier_cli.main import app

app()
