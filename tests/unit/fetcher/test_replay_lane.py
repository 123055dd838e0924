"""What a lane holds back until it is a batch."""

from services.fetcher.lane import MOST_PAYLOAD_CHARACTERS, Draft
from services.fetcher.providers.replay import BadRow, Row
from shared.redis.log import Rejected, freeze

GOOD = Row(0, 2, ("KO", "1", "5", "replay", "", "", ""))


def test_rejected_rows_keep_their_place_among_the_numbers() -> None:
    draft = Draft(41)
    for row in (GOOD, BadRow(0, 3, "line 3: bad", "x"), GOOD, BadRow(0, 5, "line 5: bad", "y")):
        draft.add(row)
    batch = draft.freeze()
    assert (batch.first, batch.count) == (41, 4)
    assert batch == freeze(41, [GOOD.tick, GOOD.tick], [Rejected(1, "line 3: bad", "x"), Rejected(3, "line 5: bad", "y")])


def test_a_batch_is_full_at_a_thousand_rows() -> None:
    draft = Draft(1)
    for _ in range(999):
        draft.add(GOOD)
    assert not draft.is_full
    draft.add(GOOD)
    assert draft.is_full


def test_long_bad_rows_fill_a_batch_early() -> None:
    draft = Draft(1)
    while not draft.is_full:
        draft.add(BadRow(0, 2, "line 2: bad", "x" * 4096))
    assert len(draft) == MOST_PAYLOAD_CHARACTERS // 4096
