-- The audit logs of commitgate, one row per record. line is the record as it was written: what a checkpoint vouches for is this column.
CREATE TABLE IF NOT EXISTS commitgate_records (
    log        text        NOT NULL, -- origin: gate.example/cluster/pod
    shard      text        NOT NULL,
    seq        bigint      NOT NULL,
    id         text        NOT NULL,
    time       timestamptz NOT NULL,
    type       text        NOT NULL,
    outcome    text        NOT NULL,
    reason     text        NOT NULL,
    operation  text        NOT NULL,
    kind       text        NOT NULL,
    namespace  text        NOT NULL,
    name       text        NOT NULL,
    username   text        NOT NULL,
    repository text        NOT NULL,
    revision   text        NOT NULL,
    commit     text        NOT NULL,
    path       text        NOT NULL,
    line       text        NOT NULL,
    PRIMARY KEY (log, seq)
);
CREATE INDEX IF NOT EXISTS commitgate_records_time ON commitgate_records (time);
CREATE INDEX IF NOT EXISTS commitgate_records_object ON commitgate_records (namespace, name);
CREATE INDEX IF NOT EXISTS commitgate_records_commit ON commitgate_records (commit);

CREATE TABLE IF NOT EXISTS commitgate_checkpoints (
    log   text   NOT NULL,
    shard text   NOT NULL,
    size  bigint NOT NULL,
    root  text   NOT NULL,
    note  text   NOT NULL, -- signed (c2sp.org/tlog-checkpoint)
    PRIMARY KEY (log, shard, size)
);

-- What records name by digest: signer lists, policies and configuration, byte for byte.
CREATE TABLE IF NOT EXISTS commitgate_exhibits (
    log     text  NOT NULL,
    name    text  NOT NULL, -- SHA-256 of content, hexadecimal
    content bytea NOT NULL,
    PRIMARY KEY (log, name)
);
