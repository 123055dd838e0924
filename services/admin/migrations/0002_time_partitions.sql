-- `ticks` and `enriched` become tables partitioned by the time of receipt (UTC days, made ahead by housekeeping), so that old
-- rows go by dropping whole days. Receipt, not event time: a replay may be years old. `received` is the entry id's
-- milliseconds, hence the same whenever a batch is stored again, and the key still refuses a doubled entry. An id of a
-- stranger's making may lie beyond any calendar: the year 5138 is the last.
--
-- A row is received at most 5 s before its ts (`append` refuses others): a query on ts may add
-- `received >= start - interval '5 seconds'`, and days before it are not looked at.

-- Of a form that PostgreSQL expands in place: called for every row, it took most of the time.
CREATE FUNCTION pg_temp.received_of(entry_id text) RETURNS timestamptz LANGUAGE sql STABLE AS $$
    SELECT timestamptz 'epoch' + least(split_part(entry_id, '-', 1)::numeric, 99999999999999)::bigint / 1000 * interval '1 second'
        + least(split_part(entry_id, '-', 1)::numeric, 99999999999999)::bigint % 1000 * interval '1 millisecond'
$$;

-- What others were granted, by the operator: the new tables are to be read and written by the same roles.
CREATE FUNCTION pg_temp.grant_as(template regclass, target regclass) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    given record;
BEGIN
    FOR given IN
        SELECT acl.privilege_type AS privilege, acl.is_grantable,
               CASE acl.grantee WHEN 0 THEN 'PUBLIC' ELSE acl.grantee::regrole::text END AS grantee
        FROM pg_class, aclexplode(relacl) AS acl WHERE oid = template AND acl.grantee <> relowner
    LOOP
        EXECUTE format('GRANT %s ON %s TO %s%s', given.privilege, target, given.grantee,
                       CASE WHEN given.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END);
    END LOOP;
END $$;

-- The days there are rows of; what lies in the future, by a wrong clock or a stranger's hand, stays in the DEFAULT partition.
CREATE FUNCTION pg_temp.make_days(source regclass, target text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    day timestamp;
BEGIN
    FOR day IN EXECUTE format(
        'SELECT day FROM (SELECT DISTINCT date_trunc(''day'', pg_temp.received_of(entry_id) AT TIME ZONE ''UTC'') AS day FROM %s) AS days
         WHERE day <= now() AT TIME ZONE ''UTC'' ORDER BY day', source)
    LOOP
        EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)', target || '_' || to_char(day, 'YYYYMMDD'), target,
                       day AT TIME ZONE 'UTC', (day + interval '1 day') AT TIME ZONE 'UTC');
    END LOOP;
END $$;

ALTER TABLE ticks RENAME TO unpartitioned_ticks;
ALTER INDEX ticks_pkey RENAME TO unpartitioned_ticks_pkey;
ALTER TABLE enriched RENAME TO unpartitioned_enriched;
ALTER INDEX enriched_pkey RENAME TO unpartitioned_enriched_pkey;

CREATE TABLE ticks (
    incarnation text        NOT NULL,
    partition   smallint    NOT NULL,
    seq         bigint      NOT NULL,
    entry_id    text        NOT NULL,
    ticker      text        NOT NULL,
    price       numeric     NOT NULL CHECK (price > 0 AND price < 1e12),
    ts          timestamptz NOT NULL,
    source      text        NOT NULL,
    volume      numeric              CHECK (volume >= 0 AND volume < 1e12),
    quote_ts    timestamptz,
    received    timestamptz NOT NULL
) PARTITION BY RANGE (received);

CREATE TABLE enriched (
    incarnation text        NOT NULL,
    partition   smallint    NOT NULL,
    seq         bigint      NOT NULL,
    entry_id    text        NOT NULL,
    tick_id     text        NOT NULL,
    ticker      text        NOT NULL,
    price       numeric     NOT NULL CHECK (price > 0 AND price < 1e12),
    sma         numeric              CHECK (sma >= 0 AND sma <= 1e12), -- an average of prices just below 1e12 may round up to it
    alert       text                 CHECK (alert IN ('bullish', 'bearish')),
    ts          timestamptz NOT NULL,
    source      text        NOT NULL,
    received    timestamptz NOT NULL
) PARTITION BY RANGE (received);

CREATE TABLE ticks_default PARTITION OF ticks DEFAULT;
CREATE TABLE enriched_default PARTITION OF enriched DEFAULT;
SELECT pg_temp.make_days('unpartitioned_ticks', 'ticks'), pg_temp.make_days('unpartitioned_enriched', 'enriched');

INSERT INTO ticks SELECT *, pg_temp.received_of(entry_id) FROM unpartitioned_ticks;
INSERT INTO enriched SELECT *, pg_temp.received_of(entry_id) FROM unpartitioned_enriched;

-- After the rows: an index is built faster than it grows. The key serves the persister, too: the newest row of an incarnation.
ALTER TABLE ticks ADD PRIMARY KEY (incarnation, partition, seq, received);
ALTER TABLE enriched ADD PRIMARY KEY (incarnation, partition, seq, received);
-- Not with the rest of the order, (…, incarnation, partition, seq): few rows of a ticker share a ts, so sorting those costs
-- nothing, and COPY pays for every column of an index.
CREATE INDEX ticks_by_ticker ON ticks (ticker, ts);
-- By seq: the rows before an alert, which show what it was judged by. By ts only alerts are asked for.
CREATE INDEX enriched_by_ticker ON enriched (ticker, seq);
CREATE INDEX alerts_by_ts ON enriched (ts, incarnation, partition, seq) WHERE alert IS NOT NULL;
CREATE INDEX alerts_by_ticker ON enriched (ticker, ts, incarnation, partition, seq) WHERE alert IS NOT NULL;
-- What housekeeping asks of rows that no day was made for.
CREATE INDEX ticks_default_received ON ticks_default (received);
CREATE INDEX enriched_default_received ON enriched_default (received);

SELECT pg_temp.grant_as('unpartitioned_ticks', 'ticks'), pg_temp.grant_as('unpartitioned_enriched', 'enriched');

-- Replaced, not dropped: what was granted on the view stays.
CREATE OR REPLACE VIEW alerts AS
SELECT incarnation || '.' || partition || '.' || seq AS id,
       ticker, alert AS direction, price, sma, ts, incarnation, partition, seq, received
FROM enriched
WHERE alert IS NOT NULL;

DROP TABLE unpartitioned_ticks;
DROP TABLE unpartitioned_enriched;
DROP FUNCTION pg_temp.received_of;
DROP FUNCTION pg_temp.grant_as;
DROP FUNCTION pg_temp.make_days;

-- The newest row of each incarnation that RETENTION_DAYS has dropped, written with the drop: after a REWIND the persister
-- still finds how far an incarnation was stored.
CREATE TABLE dropped (
    stream      text     NOT NULL,
    partition   smallint NOT NULL,
    incarnation text     NOT NULL,
    seq         bigint   NOT NULL,
    entry_id    text     NOT NULL,
    PRIMARY KEY (stream, partition, incarnation)
);
