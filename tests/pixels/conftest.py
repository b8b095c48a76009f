"""One pool of decoders for all tests of this folder."""

from collections.abc import Iterator

import pytest

from leadglass.pixels.pool import Decoders, DecodingLimits


@pytest.fixture(scope="session")
def decoders() -> Iterator[Decoders]:
    pool = Decoders(DecodingLimits())
    yield pool
    pool.close()
