"""End to end: the services as processes, real servers, real market data."""

import pytest

# A difference that they find is to be shown, as in a test.
pytest.register_assert_rewrite("tests.e2e.pipeline", "tests.e2e.proof", "tests.e2e.viewer")
