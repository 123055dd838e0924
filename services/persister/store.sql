-- name: position
SELECT incarnation, position, seq, passed FROM cursors WHERE stream = $1 AND partition = $2

-- name: begin
-- The first persister of a stream creates its row; the others find it.
INSERT INTO cursors (stream, partition, incarnation, position, seq, passed) VALUES ($1, $2, '', '0-0', 0, 0) ON CONFLICT DO NOTHING

-- name: advance
-- The compare-and-set, first in its transaction: zero rows mean that somebody else stored this batch.
UPDATE cursors SET incarnation = $3, position = $4, seq = $5, passed = $6, updated_at = now()
WHERE stream = $1 AND partition = $2 AND incarnation = $7 AND position = $8

-- name: note
INSERT INTO stream_events (kind, stream, partition, incarnation, first_seq, last_seq, detail, at)
VALUES ($1, $2, $3, $4, $5, $6, $7, coalesce(to_timestamp($8::double precision / 1000), now()))

-- name: newest_tick
SELECT entry_id, seq FROM ticks WHERE incarnation = $1 AND partition = $2 AND seq <= $3 ORDER BY seq DESC LIMIT 1

-- name: newest_enriched
SELECT entry_id, seq FROM enriched WHERE incarnation = $1 AND partition = $2 AND seq <= $3 ORDER BY seq DESC LIMIT 1

-- name: newest_dropped
SELECT entry_id, seq FROM dropped WHERE stream = $1 AND partition = $2 AND incarnation = $3

-- name: partitions
SELECT partitions FROM deployment

-- name: end_stalled
-- COPY waits for its client for ever: neither statement_timeout nor idle_in_transaction_session_timeout ends it. Sessions of our own
-- role alone, which hold a cursor and have had nothing from their client since COPY began.
SELECT pid, host(client_addr) AS client, pg_terminate_backend(pid)
FROM pg_stat_activity
JOIN (SELECT DISTINCT pid FROM pg_locks WHERE relation = 'cursors'::regclass AND mode = 'RowExclusiveLock' AND granted) AS holders USING (pid)
WHERE pid <> pg_backend_pid() AND usename = current_user AND state = 'active' AND wait_event = 'ClientRead'
  AND state_change < now() - make_interval(secs => $1)
