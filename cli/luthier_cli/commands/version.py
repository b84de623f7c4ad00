"""`luthier version`: which program this is."""


def version() -> None:
    """Print the version of this program and of the API that it knows."""
    from importlib.metadata import version as installed

    from luthier_api import API_VERSION

    print(f"luthier {installed('luthier')} (API {API_VERSION})")
