-- A tick of each ticker in turn, evenly over the days; seq is dense over all of them, which keeps it unique in each partition.
INSERT INTO ticks (incarnation, partition, seq, entry_id, ticker, price, ts, source, volume, quote_ts, received)
SELECT $1, ($3::int[])[ticker], n, n || '-0', ($2::text[])[ticker],
       round((100 + ticker + 5 * sin(n / 20000.0))::numeric + (n * 7919 % 50) / 100.0, 2), at, 'simulated', 100, NULL, at
FROM generate_series($4::bigint, $5::bigint - 1) AS n,
LATERAL (SELECT (n % cardinality($2::text[]))::int + 1 AS ticker, $6::timestamptz + n * $7::interval AS at) AS each
