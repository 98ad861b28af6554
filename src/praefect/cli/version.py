"""The version of this build."""


def version() -> str:
    """Return the version of the installed distribution."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed("praefect")
    except PackageNotFoundError:
        return "unknown"
