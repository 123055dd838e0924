-- Named as in services/api/queries.sql: the same statements.

-- name: make
-- A tick of each ticker in turn, evenly over the days; seq is dense over all of them, which keeps it unique in each partition.
INSERT INTO ticks (incarnation, partition, seq, entry_id, ticker, price, ts, source, volume, quote_ts, received)
SELECT $1, ($3::int[])[ticker], n, n || '-0', ($2::text[])[ticker],
       round((100 + ticker + 5 * sin(n / 20000.0))::numeric + (n * 7919 % 50) / 100.0, 2), at, 'simulated', 100, NULL, at
FROM generate_series($4::bigint, $5::bigint - 1) AS n,
LATERAL (SELECT (n % cardinality($2::text[]))::int + 1 AS ticker, $6::timestamptz + n * $7::interval AS at) AS each

-- name: newest_tick
SELECT max(ts) FROM ticks WHERE ticker = $1 AND ts >= $2 AND ts < $3 AND received >= $2::timestamptz - interval '5 seconds'

-- name: ticks
SELECT ticker, trim_scale(price)::text AS price, ts, source, trim_scale(volume)::text AS volume, incarnation, partition, seq
FROM ticks
WHERE ticker = $1 AND ts >= $2 AND (ts, incarnation, partition, seq) < ($3, $4, $5, $6)
  AND received >= $2::timestamptz - interval '5 seconds'
ORDER BY ts DESC, incarnation DESC, partition DESC, seq DESC
LIMIT $7

-- name: bars
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
