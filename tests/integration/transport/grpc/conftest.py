import pytest

from praefect.transport.http2 import engine


@pytest.fixture(params=["httpunk", "h2"])
def engine_name(request: pytest.FixtureRequest) -> str:
    """Both HTTP/2 engines: everything above them must not notice which one it is."""
    assert isinstance(request.param, str)
    try:
        engine(request.param)
    except ValueError as error:
        pytest.skip(str(error))
    return request.param
