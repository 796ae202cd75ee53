-- Dependencies between feature sets, quarantine of keys, the tables that apply created.

CREATE TABLE regfeat.dependency (
  feature_set_id  integer NOT NULL REFERENCES regfeat.feature_set ON DELETE CASCADE,
  requires_id     integer NOT NULL REFERENCES regfeat.feature_set,
  lookback        bigint,
  PRIMARY KEY (feature_set_id, requires_id)
);
COMMENT ON TABLE  regfeat.dependency IS 'depends_on of the specifications in force. Written by apply.';
COMMENT ON COLUMN regfeat.dependency.lookback IS 'How far before its range a partition reads, in units of its bounds; NULL: windows by rows reach back an unknown distance, so everything earlier counts.';

CREATE TABLE regfeat.target (
  target      regclass PRIMARY KEY,
  feature_set text NOT NULL,
  created_at  timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE regfeat.target IS 'Target tables that apply created: it may add columns to them, and remove --drop-tables may drop them. Other tables are used as they are.';

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

ALTER TABLE regfeat.partition ADD COLUMN removed boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN regfeat.partition.removed IS 'The specification names it no longer: apply cancelled it. Its rows stay in the targets; nothing waits for it.';

-- The first partition that another one has to wait for, in words. A failed one first: it says why nothing moves.
CREATE FUNCTION regfeat.blocked_by(wanted bigint) RETURNS text
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT format('waits for %s, series %s, %s: %s%s', g.name, a.series, regfeat.order_text(g.order_kind, a.lower_bound), a.state,
                coalesce(' (' || a.message || ')', ''))
    FROM regfeat.partition p
    JOIN regfeat.dependency d ON d.feature_set_id = p.feature_set_id
    JOIN regfeat.feature_set g ON g.feature_set_id = d.requires_id
    JOIN regfeat.partition a ON a.feature_set_id = d.requires_id
   WHERE p.partition_id = wanted AND a.state NOT IN ('done', 'empty') AND NOT a.removed
     AND a.lower_bound < p.upper_bound
     AND (d.lookback IS NULL OR a.upper_bound > p.lower_bound - d.lookback)
     AND (a.series = p.series
          OR NOT EXISTS (SELECT FROM regfeat.partition s WHERE s.feature_set_id = d.requires_id AND s.series = p.series AND NOT s.removed))
   ORDER BY a.state = 'failed' DESC, a.state = 'cancelled' DESC, a.lower_bound, a.partition_id
   LIMIT 1 $$;
COMMENT ON FUNCTION regfeat.blocked_by IS 'What a partition waits for because of depends_on; NULL: nothing.';

CREATE OR REPLACE VIEW regfeat.partition_status AS
SELECT f.name AS feature_set, p.series,
       regfeat.order_text(f.order_kind, p.lower_bound) AS "from", regfeat.order_text(f.order_kind, p.upper_bound) AS "to",
       p.state, p.priority, p.attempts, p.rows_in, p.rows_out, p.nulls_out, p.message, p.changed_at, p.not_before,
       d.name AS daemon, p.worker, w.step, w.rows_done, w.rows_total,
       p.epoch, p.specification_version, p.build_id, p.checksum, p.partition_id,
       CASE WHEN p.state = 'pending' THEN regfeat.blocked_by(p.partition_id) END AS blocked_by
  FROM regfeat.partition p
  JOIN regfeat.feature_set f USING (feature_set_id)
  LEFT JOIN regfeat.daemon d ON d.daemon_id = p.daemon_id AND p.state = 'running'
  LEFT JOIN regfeat.worker w ON w.daemon_id = p.daemon_id AND w.worker = p.worker AND w.partition_id = p.partition_id AND p.state = 'running';

CREATE OR REPLACE FUNCTION regfeat.claim(claimant bigint, claimant_worker integer, claimant_backend integer, claimant_build text)
  RETURNS TABLE (partition_id bigint, attempt_id bigint, epoch bigint, attempts integer, feature_set_id integer,
                 specification_version integer, series text, lower_bound bigint, upper_bound bigint)
  LANGUAGE plpgsql
  SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET jit = off AS $$
DECLARE
  s record;
  p record;
  a bigint;
  instant timestamptz := clock_timestamp();
BEGIN
  -- A daemon that was declared lost, or whose lease just ran out, claims nothing: others would take it away at once.
  PERFORM FROM regfeat.daemon d
    WHERE d.daemon_id = claimant AND d.state = 'running' AND d.heartbeat_at + d.lease >= instant;
  IF NOT FOUND THEN
    RETURN;
  END IF;
  -- Highest priority first; among equals the feature set with the fewest running partitions.
  FOR s IN
    SELECT f.feature_set_id, f.specification_version, f.breaker_until IS NOT NULL AS probing,
           EXISTS (SELECT FROM regfeat.dependency d WHERE d.feature_set_id = f.feature_set_id) AS dependent
      FROM regfeat.feature_set f
      CROSS JOIN LATERAL (SELECT q.priority FROM regfeat.partition q
                           WHERE q.feature_set_id = f.feature_set_id AND q.state = 'pending' AND q.not_before <= instant
                           ORDER BY q.priority DESC, q.claim_rank, q.partition_id LIMIT 1) top
     WHERE f.paused_at IS NULL AND (f.breaker_until IS NULL OR f.breaker_until <= instant)
     ORDER BY top.priority DESC,
              (SELECT count(*) FROM regfeat.partition r WHERE r.state = 'running' AND r.feature_set_id = f.feature_set_id),
              f.feature_set_id
  LOOP
    IF s.probing THEN  -- one probe at a time; who comes second finds the row locked, or the breaker open again
      PERFORM FROM regfeat.feature_set f
        WHERE f.feature_set_id = s.feature_set_id AND f.breaker_until <= instant FOR UPDATE SKIP LOCKED;
      CONTINUE WHEN NOT FOUND;
    END IF;
    SELECT q.partition_id, q.epoch, q.attempts, q.series, q.lower_bound, q.upper_bound INTO p
      FROM regfeat.partition q
     WHERE q.feature_set_id = s.feature_set_id AND q.state = 'pending' AND q.not_before <= instant
       AND (NOT s.dependent OR regfeat.blocked_by(q.partition_id) IS NULL)
     ORDER BY q.priority DESC, q.claim_rank, q.partition_id
     LIMIT 1 FOR UPDATE SKIP LOCKED;
    CONTINUE WHEN NOT FOUND;
    IF s.probing THEN
      UPDATE regfeat.feature_set f SET breaker_until = instant + interval '1 minute' WHERE f.feature_set_id = s.feature_set_id;
    END IF;

    INSERT INTO regfeat.attempt AS t (partition_id, feature_set_id, epoch, daemon_id, worker, backend_pid, build_id, specification_version)
      VALUES (p.partition_id, s.feature_set_id, p.epoch + 1, claimant, claimant_worker, claimant_backend, claimant_build, s.specification_version)
      RETURNING t.attempt_id INTO a;
    UPDATE regfeat.partition q
       SET state = 'running', epoch = p.epoch + 1, attempts = p.attempts + 1, daemon_id = claimant, worker = claimant_worker,
           backend_pid = claimant_backend, attempt_id = a, changed_at = clock_timestamp()
     WHERE q.partition_id = p.partition_id;
    RETURN QUERY SELECT p.partition_id, a, p.epoch + 1, p.attempts + 1, s.feature_set_id, s.specification_version,
                        p.series, p.lower_bound, p.upper_bound;
    RETURN;
  END LOOP;
END $$;

DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'regfeat_daemon') THEN
    GRANT SELECT, INSERT, UPDATE, DELETE ON regfeat.dependency, regfeat.target, regfeat.quarantine TO regfeat_daemon;
  END IF;
END $$;
