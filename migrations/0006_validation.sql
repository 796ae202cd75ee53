-- What `regfeatd validate` looked at and found. docs/validate.md.

CREATE TABLE regfeat.validation_run (
  validation_run_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  feature_set        text NOT NULL,
  started_at         timestamptz NOT NULL DEFAULT clock_timestamp(),
  finished_at        timestamptz,
  started_by         text NOT NULL DEFAULT current_user,
  build_id           text NOT NULL,
  seed               bigint NOT NULL,
  partitions         bigint NOT NULL DEFAULT 0,
  partitions_of      bigint NOT NULL DEFAULT 0,
  rows_checked       bigint NOT NULL DEFAULT 0,
  values_checked     bigint NOT NULL DEFAULT 0,
  oracle_values      bigint NOT NULL DEFAULT 0,
  findings           bigint NOT NULL DEFAULT 0
);
COMMENT ON TABLE  regfeat.validation_run IS 'Every `regfeatd validate`: what it looked at, and how many findings.';
COMMENT ON COLUMN regfeat.validation_run.finished_at IS 'NULL: it runs, or was interrupted.';
COMMENT ON COLUMN regfeat.validation_run.partitions_of IS 'Finished partitions that it chose its sample from.';
COMMENT ON COLUMN regfeat.validation_run.values_checked IS 'Values compared bit by bit with a new computation.';
COMMENT ON COLUMN regfeat.validation_run.oracle_values IS 'Values compared with the naive oracle.';

CREATE TABLE regfeat.validation (
  validation_id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  validation_run_id  bigint NOT NULL REFERENCES regfeat.validation_run ON DELETE CASCADE,
  found_at           timestamptz NOT NULL DEFAULT clock_timestamp(),
  feature_set        text NOT NULL,
  series             text NOT NULL,
  partition_id       bigint,
  "from"             text,
  "to"               text,
  what               text NOT NULL,
  target             text,
  column_name        text,
  position           text,
  message            text NOT NULL
);
CREATE INDEX validation_by_run ON regfeat.validation (validation_run_id);
COMMENT ON TABLE  regfeat.validation IS 'The findings of `regfeatd validate`. docs/validate.md says what each `what` means and what to do.';
COMMENT ON COLUMN regfeat.validation.partition_id IS 'NULL: the finding is about a table as a whole.';
COMMENT ON COLUMN regfeat.validation.position IS 'The row: its time or sequence number, and its key.';
