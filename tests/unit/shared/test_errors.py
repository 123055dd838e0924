"""What each error says, and which of them a loop may wait out."""

import pytest

from shared.errors import ConfigurationError, Fenced, InvalidEntry, NotReady, Problem, TransientError
from shared.redis.client import REDIS_AWAY, TRY_AGAIN
from shared.redis.log import Unconfigured


def test_a_configuration_error_is_one_line_per_variable() -> None:
    error = ConfigurationError((Problem("PARTITIONS", "0", "must be 1 … 64"), Problem("REDIS_URL", "(hidden)", "must be set")))
    assert str(error) == "PARTITIONS=0: must be 1 … 64\nREDIS_URL=(hidden): must be set"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (NotReady("not migrated"), "not migrated"),
        (InvalidEntry("price 'x' is not allowed"), "price 'x' is not allowed"),
        (Fenced("analyzer", 3), "the lease of analyzer on partition 3 is no longer ours"),
    ],
)
def test_an_error_carries_data_and_builds_its_text(error: Exception, text: str) -> None:
    assert str(error) == text


def test_errors_with_equal_data_are_not_equal_and_can_be_kept_in_sets() -> None:
    assert len({NotReady("a"), NotReady("a"), Fenced("a", 1), Fenced("a", 1)}) == 4


@pytest.mark.parametrize("error", [TransientError, NotReady, Unconfigured, *REDIS_AWAY])
def test_these_are_waited_out(error: type[Exception]) -> None:
    assert issubclass(error, TRY_AGAIN)


@pytest.mark.parametrize("error", [InvalidEntry, Fenced, ConfigurationError])
def test_these_never_are(error: type[Exception]) -> None:
    assert not issubclass(error, TRY_AGAIN)
