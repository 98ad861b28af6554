import pytest


@pytest.fixture(params=["httpunk", "h2"])
def engine_name(request: pytest.FixtureRequest) -> str:
    """Both HTTP/2 engines: everything above them must not notice which one it is."""
    assert isinstance(request.param, str)
    return request.param
