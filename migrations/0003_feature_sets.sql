-- The tables that feature sets write, quarantine of keys.

CREATE TABLE regfeat.target (
  target      regclass PRIMARY KEY,
  feature_set text NOT NULL,
  created     boolean NOT NULL,
  since       timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE  regfeat.target IS 'Which feature set writes which table: one table has one writer, as whoever writes a range replaces all of its rows.';
COMMENT ON COLUMN regfeat.target.created IS 'apply created the table: it may add columns to it, and remove --drop-tables drops it. Others are used as they are and never dropped.';

CREATE TABLE regfeat.quarantine (
  partition_id  bigint NOT NULL REFERENCES regfeat.partition ON DELETE CASCADE,
  feature_set   text NOT NULL,
  series        text NOT NULL,
  key           text NOT NULL,
  reason        text NOT NULL,
  position      text NOT NULL,
  rows_left_out bigint NOT NULL,
  at            timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX quarantine_partition ON regfeat.quarantine (partition_id);
COMMENT ON TABLE  regfeat.quarantine IS 'Keys whose rows could not be used when their partition was last computed. Their rows are in no target; the other keys are complete.';
COMMENT ON COLUMN regfeat.quarantine.position IS 'Where in the source the reason stands.';
COMMENT ON COLUMN regfeat.quarantine.rows_left_out IS 'Source rows inside the partition that were not computed.';
