-- What the program keeps in your PostgreSQL. May be run again.

CREATE TABLE IF NOT EXISTS events (
    partition smallint NOT NULL,
    incarnation text NOT NULL,
    seq bigint NOT NULL,
    ticker text NOT NULL,
    price numeric NOT NULL,
    sma numeric,
    alert text,
    ts timestamptz NOT NULL,
    PRIMARY KEY (partition, incarnation, seq)
);

-- Up to where the rows above are complete. Within an incarnation seqs rise, so one number says it.
CREATE TABLE IF NOT EXISTS positions (
    partition smallint NOT NULL,
    incarnation text NOT NULL,
    seq bigint NOT NULL,
    PRIMARY KEY (partition, incarnation)
);
