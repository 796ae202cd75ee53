-- The tables that feature sets write, quarantine of keys, completeness.

CREATE TABLE regfeat.target (
  target      regclass PRIMARY KEY,
  feature_set text NOT NULL,
  created     boolean NOT NULL,
  since       timestamptz NOT NULL DEFAULT now(),
  indexes     text[]
);
COMMENT ON TABLE  regfeat.target IS 'Which feature set writes which table: one table has one writer, as whoever writes a range replaces all of its rows.';
COMMENT ON COLUMN regfeat.target.created IS 'apply created the table: it may add columns to it, and remove --drop-tables drops it. Others are used as they are and never dropped.';
COMMENT ON COLUMN regfeat.target.indexes IS 'The valid indexes that the table had when its feature set was applied last, as regfeat.index_text writes them: regfeatd validate misses those that are gone. NULL: not known.';

CREATE FUNCTION regfeat.index_text(index oid) RETURNS text
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT CASE WHEN x.indisunique THEN 'unique ' ELSE '' END || '(' ||
         (SELECT string_agg(pg_get_indexdef(x.indexrelid, k, true), ', ' ORDER BY k) FROM generate_series(1, x.indnkeyatts) k) || ')' ||
         CASE WHEN x.indpred IS NULL THEN '' ELSE ' WHERE ' || pg_get_expr(x.indpred, x.indrelid, true) END
    FROM pg_index x WHERE x.indexrelid = index
$$;
COMMENT ON FUNCTION regfeat.index_text IS 'What an index is on, whatever its name: unique (a, b) WHERE c. For comparing tables.';

CREATE TABLE regfeat.quarantine (
  quarantine_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
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

CREATE TABLE regfeat.expectation (
  partition_id  bigint PRIMARY KEY REFERENCES regfeat.partition ON DELETE CASCADE,
  expected      bigint NOT NULL,
  closed        bigint NOT NULL
);
COMMENT ON TABLE  regfeat.expectation IS 'What the calendar of its feature set expects of a partition, as of its last computation: see regfeat.completeness.';
COMMENT ON COLUMN regfeat.expectation.expected IS 'Cells of the cadence in which each key should have a row: neither closed nor in the future.';
COMMENT ON COLUMN regfeat.expectation.closed IS 'Cells in which the source is legitimately closed.';

CREATE TABLE regfeat.presence (
  partition_id  bigint NOT NULL REFERENCES regfeat.expectation ON DELETE CASCADE,
  key           text NOT NULL,
  rows          bigint NOT NULL,
  present       bigint NOT NULL,
  unexpected    bigint NOT NULL,
  PRIMARY KEY (partition_id, key)
);
COMMENT ON TABLE  regfeat.presence IS 'The rows of each key of a partition against its calendar. Key: empty in sets without keys.';
COMMENT ON COLUMN regfeat.presence.rows IS 'Source rows of the key, also of one that is set aside (regfeat.quarantine).';
COMMENT ON COLUMN regfeat.presence.present IS 'Expected cells that hold a row; 0 for a key that is set aside, whose rows are in no target.';
COMMENT ON COLUMN regfeat.presence.unexpected IS 'Rows in cells in which the source is closed.';

CREATE VIEW regfeat.completeness AS
WITH keys AS (
  SELECT p.feature_set_id, p.series, r.key, min(p.lower_bound) AS first, max(p.lower_bound) AS last
    FROM regfeat.presence r JOIN regfeat.partition p USING (partition_id)
   WHERE NOT p.removed GROUP BY p.feature_set_id, p.series, r.key
)
SELECT f.name AS feature_set, p.series, regfeat.order_text(f.order_kind, p.lower_bound) AS "from",
       regfeat.order_text(f.order_kind, p.upper_bound) AS "to", k.key,
       coalesce(r.rows, 0) AS rows, e.expected, coalesce(r.present, 0) AS present, e.expected - coalesce(r.present, 0) AS missing, e.closed,
       coalesce(r.unexpected, 0) AS unexpected,
       CASE WHEN EXISTS (SELECT FROM regfeat.quarantine q WHERE q.partition_id = p.partition_id AND q.key = k.key) THEN 'quarantined'
            WHEN e.expected = 0 THEN 'closed'
            WHEN r.present = e.expected THEN 'complete'
            WHEN r.key IS NULL AND p.lower_bound < k.first THEN 'not yet there'
            WHEN r.key IS NULL AND p.lower_bound > k.last THEN 'no longer there'
            ELSE 'gap' END AS state, p.partition_id
  FROM regfeat.expectation e
  JOIN regfeat.partition p USING (partition_id)
  JOIN regfeat.feature_set f USING (feature_set_id)
  JOIN keys k ON k.feature_set_id = p.feature_set_id AND k.series = p.series
  LEFT JOIN regfeat.presence r ON r.partition_id = p.partition_id AND r.key = k.key
 WHERE NOT p.removed;
COMMENT ON VIEW regfeat.completeness IS 'Rows present and expected per partition and key, where the specification gives a cadence: complete, gap, closed (nothing is expected), quarantined, not yet there or no longer there (before the first and after the last partition in which a key has rows).';
