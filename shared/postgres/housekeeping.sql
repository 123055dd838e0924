-- {table} is `ticks` or `enriched`; {partition} one of its days; {begin}, {end} its bounds. Each step is one transaction.

-- name: try_lock
-- One of many works; the others skip. Held to the end of the transaction, whatever that end is.
SELECT pg_try_advisory_xact_lock($1)

-- name: bound_locks
-- While a lock is waited for, COPY and queries queue behind it: rather tried again later.
SET LOCAL lock_timeout = '500ms'

-- name: partitions
SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid WHERE inhparent = '{table}'::regclass

-- name: oldest_in_default
SELECT min(received) FROM {table}_default WHERE received >= $1 AND received < $2

-- name: make
-- Made apart and attached: this takes no lock that COPY into another day would wait for. With its indexes: built by the attaching,
-- they would keep the DEFAULT partition locked meanwhile.
CREATE TABLE {partition} (LIKE {table} INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING INDEXES)

-- name: move
WITH moved AS (DELETE FROM {table}_default WHERE received >= '{begin}' AND received < '{end}' RETURNING *)
INSERT INTO {partition} SELECT * FROM moved

-- name: close_default
-- From here on nobody adds a row to the DEFAULT partition; what came while the most was moved is moved, too.
LOCK TABLE {table}_default IN ACCESS EXCLUSIVE MODE

-- name: attach
ALTER TABLE {table} ATTACH PARTITION {partition} FOR VALUES FROM ('{begin}') TO ('{end}')

-- name: copy_grants
-- Asked of the partition itself, by a dump or by hand, the same roles may read it.
SELECT format('GRANT %s ON {partition} TO %s', privilege_type, CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END)
FROM pg_class, aclexplode(relacl) WHERE pg_class.oid = '{table}'::regclass AND grantee <> relowner

-- name: mark
-- Notes how far the day's incarnations go, and counts its rows.
WITH newest AS (SELECT incarnation, partition, max(seq) AS seq, count(*) AS amount FROM {partition} GROUP BY incarnation, partition),
marked AS (
    INSERT INTO dropped (stream, partition, incarnation, seq, entry_id)
    SELECT '{table}', n.partition, n.incarnation, n.seq,
           (SELECT entry_id FROM {partition} AS r
            WHERE r.incarnation = n.incarnation AND r.partition = n.partition AND r.seq = n.seq LIMIT 1)
    FROM newest AS n
    ON CONFLICT (stream, partition, incarnation) DO UPDATE SET seq = excluded.seq, entry_id = excluded.entry_id
    WHERE dropped.seq < excluded.seq
)
SELECT coalesce(sum(amount), 0)::bigint FROM newest

-- name: drop
DROP TABLE {partition}

-- name: delete
WITH old AS (
    DELETE FROM {table}_default WHERE ctid = ANY (ARRAY(SELECT ctid FROM {table}_default WHERE received < $1 ORDER BY received LIMIT $2))
    RETURNING incarnation, partition, seq, entry_id
),
marked AS (
    INSERT INTO dropped (stream, partition, incarnation, seq, entry_id)
    SELECT DISTINCT ON (incarnation, partition) '{table}', partition, incarnation, seq, entry_id
    FROM old ORDER BY incarnation, partition, seq DESC
    ON CONFLICT (stream, partition, incarnation) DO UPDATE SET seq = excluded.seq, entry_id = excluded.entry_id
    WHERE dropped.seq < excluded.seq
)
SELECT count(*) FROM old
