"""`/api/stocks/{ticker}/gaps`: where ticks are missing, so that nobody takes a hole in the history for a quiet market."""

from fastapi import APIRouter, Response

from services.api import json_text
from services.api.answers import json_answer
from services.api.models import GapList, problems
from services.api.parameters import ROWS, End, Limit, Start, Ticker
from services.api.sources import Asked
from services.api.spans import BEGIN_OF_TIME, END_OF_TIME
from shared.partitions import partition_of

router = APIRouter(prefix="/api/stocks", tags=["history"])


@router.get("/{ticker}/gaps", response_model=GapList, responses=problems(422, 503))
async def gaps(ticker: Ticker, sources: Asked, start: Start = None, end: End = None, limit: Limit = ROWS) -> Response:
    """The losses of the ticker's partition that were noticed within the span, newest first.

    Which tickers the lost ticks were of nobody knows. Where only averages or alerts were lost, or a reader of somebody's own was
    passed over (`overrun`), no tick is missing and nothing is listed.
    """
    partition = partition_of(ticker, sources.settings.partitions)
    rows = await sources.database.pages.rows("gaps", ticker, partition, start or BEGIN_OF_TIME, end or END_OF_TIME, limit)
    return json_answer(json_text.series(map(json_text.gap, rows)))
