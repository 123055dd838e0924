-- Rows come newest first by (ts, incarnation, partition, seq), the ends of an index: no function stands on a column in a WHERE.
-- Numbers leave as text, so that nobody makes a float of them. `append` refuses a tick whose ts is more than 5 s ahead of Redis'
-- clock, which gives the entry its id: with `received >= start - 5 s` the days before are not looked at.

-- name: ticks
-- $1 ticker, $2 start, $3 … $6 the place behind which the page begins, $7 how many.
SELECT ticker, trim_scale(price)::text AS price, ts, source, trim_scale(volume)::text AS volume, incarnation, partition, seq
FROM ticks
WHERE ticker = $1 AND ts >= $2 AND (ts, incarnation, partition, seq) < ($3, $4, $5, $6)
  AND received >= $2::timestamptz - interval '5 seconds'
ORDER BY ts DESC, incarnation DESC, partition DESC, seq DESC
LIMIT $7

-- name: newest_tick
-- When the newest tick of a ticker within a span was; null: there is none.
SELECT max(ts) FROM ticks WHERE ticker = $1 AND ts >= $2 AND ts < $3 AND received >= $2::timestamptz - interval '5 seconds'

-- name: oldest_tick
SELECT min(ts) FROM ticks WHERE ticker = $1 AND ts >= $2 AND ts < $3 AND received >= $2::timestamptz - interval '5 seconds'

-- name: bars
-- $1 ticker, $2 start and $3 end, both aligned, $4 the length of a bar. The two arrays are one aggregate to PostgreSQL.
SELECT ts, open::text, high::text, low::text, close::text, volume::text, count
FROM (
    SELECT date_bin($4, ts, '1970-01-01T00:00:00Z') AS ts,
           trim_scale((array_agg(price ORDER BY ts, incarnation, partition, seq))[1]) AS open,
           trim_scale(max(price)) AS high,
           trim_scale(min(price)) AS low,
           trim_scale((array_agg(price ORDER BY ts, incarnation, partition, seq))[count(*)]) AS close,
           trim_scale(sum(volume)) AS volume,
           count(*) AS count
    FROM ticks
    WHERE ticker = $1 AND ts >= $2 AND ts < $3 AND received >= $2::timestamptz - interval '5 seconds'
    GROUP BY 1
) AS bar
ORDER BY ts

-- name: days
-- $1 tickers, $2 a recent time, $3 how many points. Lookups in an index alone, so a day of any number of ticks costs the same.
-- The newest tick is looked for since $2 first: without a bound every day of the table is asked.
-- A point is the price that held at its moment, so several moments may have the same tick.
SELECT asked.ticker, newest.day, trim_scale(first.price)::text AS open, first.ts AS open_ts, points.prices, points.times
FROM unnest($1::text[]) AS asked (ticker)
CROSS JOIN LATERAL (
    SELECT ts, date_bin('1 day', ts, '1970-01-01T00:00:00Z') AS day
    FROM coalesce(
        (SELECT max(ts) FROM ticks WHERE ticker = asked.ticker AND ts >= $2 AND received >= $2::timestamptz - interval '5 seconds'),
        (SELECT max(ts) FROM ticks WHERE ticker = asked.ticker)
    ) AS ts
) AS newest
CROSS JOIN LATERAL (
    SELECT price, ts
    FROM ticks
    WHERE ticker = asked.ticker AND ts >= newest.day AND received >= newest.day - interval '5 seconds'
    ORDER BY ts, incarnation, partition, seq
    LIMIT 1
) AS first
CROSS JOIN LATERAL (
    SELECT array_agg(trim_scale(price)::text ORDER BY ts) AS prices, array_agg(ts ORDER BY ts) AS times
    FROM (
        SELECT DISTINCT held.ts, held.price
        FROM generate_series(0, $3::int - 1) AS back
        CROSS JOIN LATERAL (
            SELECT price, ts
            FROM ticks
            WHERE ticker = asked.ticker AND ts >= newest.day AND received >= newest.day - interval '5 seconds'
              AND ts <= newest.ts - (newest.ts - first.ts) * (back / greatest($3::int - 1, 1)::double precision)
            ORDER BY ts DESC, incarnation DESC, partition DESC, seq DESC
            LIMIT 1
        ) AS held
    ) AS point
) AS points
ORDER BY asked.ticker

-- name: alerts
-- $1 directions, $2 start, $3 … $6 the place behind which the page begins, $7 how many, $8 SMA_PERIOD.
SELECT incarnation || '.' || partition || '.' || seq AS id, ticker, direction, trim_scale(price)::text AS price,
       trim_scale(sma)::text AS sma, ts, "window", previous_sma, previous_price, incarnation, partition, seq
FROM (
    SELECT incarnation, partition, seq, ticker, alert AS direction, price, sma, ts
    FROM enriched
    WHERE alert IS NOT NULL AND alert = ANY ($1) AND ts >= $2 AND (ts, incarnation, partition, seq) < ($3, $4, $5, $6)
      AND received >= $2::timestamptz - interval '5 seconds'
    ORDER BY ts DESC, incarnation DESC, partition DESC, seq DESC
    LIMIT $7
) AS alert
CROSS JOIN LATERAL (@evidence) AS evidence
ORDER BY ts DESC, incarnation DESC, partition DESC, seq DESC

-- name: alerts_of_ticker
-- As above, and $9 the ticker: a condition on it that may be absent would be no index condition.
SELECT incarnation || '.' || partition || '.' || seq AS id, ticker, direction, trim_scale(price)::text AS price,
       trim_scale(sma)::text AS sma, ts, "window", previous_sma, previous_price, incarnation, partition, seq
FROM (
    SELECT incarnation, partition, seq, ticker, alert AS direction, price, sma, ts
    FROM enriched
    WHERE ticker = $9 AND alert IS NOT NULL AND alert = ANY ($1) AND ts >= $2
      AND (ts, incarnation, partition, seq) < ($3, $4, $5, $6)
      AND received >= $2::timestamptz - interval '5 seconds'
    ORDER BY ts DESC, incarnation DESC, partition DESC, seq DESC
    LIMIT $7
) AS alert
CROSS JOIN LATERAL (@evidence) AS evidence
ORDER BY ts DESC, incarnation DESC, partition DESC, seq DESC

-- name: evidence
-- The prices that an alert was judged by: its own and those before it of the same ticker, in the order in which they were
-- committed (not that of ts: trades may come late). Of an older incarnation only what the alert's own one continued, its
-- lost suffix has numbers that were given out again. Whether these are the right prices the average itself tells: `sma` is
-- their mean, to half of its last digit. After a change of SMA_PERIOD, a gap or deleted rows it is not, and nothing is shown.
WITH own AS MATERIALIZED (
    SELECT event.price, event.sma, event.incarnation, event.seq
    FROM enriched AS event
    WHERE event.ticker = alert.ticker AND event.incarnation = alert.incarnation AND event.partition = alert.partition AND event.seq <= alert.seq
    ORDER BY event.seq DESC
    LIMIT $8
),
inherited AS MATERIALIZED (
    SELECT event.price, event.sma, event.incarnation, event.seq
    FROM enriched AS event
    WHERE (SELECT count(*) FROM own) < $8
      AND event.ticker = alert.ticker AND event.incarnation < alert.incarnation AND event.partition = alert.partition
      AND event.seq < (
          SELECT first.seq FROM enriched AS first
          WHERE first.incarnation = alert.incarnation AND first.partition = alert.partition
          ORDER BY first.seq LIMIT 1
      )
    ORDER BY event.incarnation DESC, event.seq DESC
    LIMIT $8
),
back AS (
    SELECT price, sma, row_number() OVER (ORDER BY incarnation DESC, seq DESC) AS back
    FROM (SELECT * FROM own UNION ALL SELECT * FROM inherited) AS chain
)
SELECT CASE WHEN is_proven THEN prices END AS "window",
       CASE WHEN is_proven THEN previous_sma END AS previous_sma,
       CASE WHEN is_proven THEN previous_price END AS previous_price
FROM (
    SELECT array_agg(trim_scale(price)::text ORDER BY back DESC) AS prices,
           count(*) = $8 AND abs(sum(price) - alert.sma * $8) * 2000000 <= $8 AS is_proven,
           max(trim_scale(sma)::text) FILTER (WHERE back = 2) AS previous_sma,
           max(trim_scale(price)::text) FILTER (WHERE back = 2) AS previous_price
    FROM back
    WHERE back <= $8
) AS found

-- name: gaps
-- $1 ticker, $2 its partition, $3 start and $4 end of the time of noticing, $5 how many. Behind a gap go on the higher seqs; after
-- Redis came back without what it had, those of a later incarnation. The entry that was noted says from when on to look: for a
-- ticker that never came again, or had the same seqs in an earlier life, no day before it is read.
SELECT event.kind, event.at, event.incarnation, event.first_seq, event.last_seq, following.ts AS before,
       (SELECT max(ts) FROM ticks WHERE ticker = $1 AND ts < coalesce(following.ts, 'infinity')) AS after
FROM (
    SELECT kind, at, incarnation, first_seq, last_seq,
           CASE kind WHEN 'gap' THEN last_seq ELSE coalesce(first_seq - 1, 0) END AS passed,
           to_timestamp(substring(coalesce(detail->>'before', detail->>'after', detail->>'position') FROM '^([0-9]{1,14})-')::double precision
                        / 1000) AS noted
    FROM stream_events
    WHERE partition = $2 AND stream = 'ticks' AND kind IN ('gap', 'rewind', 'reset') AND at >= $3 AND at < $4
    ORDER BY at DESC
    LIMIT $5
) AS event
LEFT JOIN LATERAL (
    SELECT enriched.ts FROM enriched
    WHERE enriched.ticker = $1 AND enriched.seq > event.passed
      AND enriched.incarnation >= event.incarnation AND (event.kind = 'gap' OR enriched.incarnation > event.incarnation)
      AND enriched.received >= coalesce(event.noted, '-infinity') - interval '5 seconds'
    ORDER BY enriched.seq
    LIMIT 1
) AS following ON true
ORDER BY event.at DESC

-- name: partitions
SELECT partitions FROM deployment

-- name: cursors
-- Up to where each stream of each partition is stored, and since when it is.
SELECT stream, partition, seq, position, updated_at FROM cursors ORDER BY partition, stream DESC

-- name: newest_events
-- $1 how many.
SELECT at, kind, stream, partition, first_seq, last_seq FROM stream_events ORDER BY at DESC LIMIT $1
