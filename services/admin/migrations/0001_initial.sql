-- What the streams carry, row for row. An entry's name is (incarnation, partition, seq): an incarnation is a life of the
-- Redis behind the partition, so rows that a roll-back of Redis lost stay apart from what was numbered again after it.

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
    PRIMARY KEY (incarnation, partition, seq)
);

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
    PRIMARY KEY (incarnation, partition, seq)
);

CREATE INDEX enriched_alerts ON enriched (ticker, ts) WHERE alert IS NOT NULL;

CREATE VIEW alerts AS
SELECT incarnation || '.' || partition || '.' || seq AS id,
       ticker, alert AS direction, price, sma, ts, incarnation, partition, seq
FROM enriched
WHERE alert IS NOT NULL;

-- Where the persister stands on each stream: moved in the same transaction that stores the rows.
CREATE TABLE cursors (
    stream      text        NOT NULL,
    partition   smallint    NOT NULL,
    incarnation text        NOT NULL,
    position    text        NOT NULL,
    seq         bigint      NOT NULL,
    passed      bigint      NOT NULL,
    updated_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (stream, partition)
);

CREATE TABLE stream_events (
    at          timestamptz NOT NULL DEFAULT now(),
    kind        text        NOT NULL CHECK (kind IN ('rewind', 'gap', 'reset', 'overrun', 'rejected', 'period')),
    stream      text        NOT NULL,
    partition   smallint    NOT NULL,
    incarnation text        NOT NULL,
    first_seq   bigint,
    last_seq    bigint,
    detail      jsonb       NOT NULL DEFAULT '{}'
);

CREATE INDEX stream_events_at ON stream_events (at);

-- One row: what cannot change while there are rows.
CREATE TABLE deployment (
    only_row   boolean  PRIMARY KEY DEFAULT true CHECK (only_row),
    partitions smallint NOT NULL
);
