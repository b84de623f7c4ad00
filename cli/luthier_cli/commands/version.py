"""`luthier version`: which program this is."""

import typer


def version() -> None:
    """Print the version of this program and of the API that it knows."""
    from importlib.metadata import version as installed

    from luthier_api import API_VERSION

    print(f"luthier {installed('luthier')} (API {API_VERSION})")


def of(wanted: bool) -> None:
    """For --version."""
    if wanted:
        version()
        raise typer.Exit
