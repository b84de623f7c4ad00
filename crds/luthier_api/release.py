"""Which Luthier this is."""

from importlib.metadata import PackageNotFoundError, version


def release() -> str:
    """Its version; unknown where it runs from its sources without being installed."""
    try:
        return version("luthier")
    except PackageNotFoundError:
        return "unknown"
