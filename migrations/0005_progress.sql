-- Progress: slow partitions, the newest rows, the model behind the ETA. docs/progress.md explains every figure.

-- The last successful attempt of each partition against the median of its feature set, COMMIT included. Waiting for a turn to send rows tells nothing of a partition.
CREATE VIEW regfeat.slow_partitions AS
WITH attempt AS (
  SELECT p.feature_set_id, p.series, p.lower_bound, p.upper_bound, p.partition_id, a.attempt_id, a.rows_in, a.daemon_id, a.worker, a.finished_at,
         extract(epoch FROM a.finished_at - a.started_at)::double precision + (coalesce(a.commit_ms, 0) - coalesce(a.wait_ms, 0)) / 1000 AS seconds,
         ARRAY[a.claim_ms, a.read_ms, a.fit_ms, a.encode_ms, a.send_ms, a.publish_ms, coalesce(a.commit_ms, 0)] AS phase_ms
    FROM regfeat.partition p JOIN regfeat.attempt a USING (attempt_id)
   WHERE p.state = 'done' AND a.outcome = 'done' AND a.rows_in > 0
), median AS (
  SELECT feature_set_id, count(*) AS attempts,
         percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds / rows_in) AS seconds_per_row,
         ARRAY[percentile_cont(0.5) WITHIN GROUP (ORDER BY phase_ms[1] / rows_in), percentile_cont(0.5) WITHIN GROUP (ORDER BY phase_ms[2] / rows_in),
               percentile_cont(0.5) WITHIN GROUP (ORDER BY phase_ms[3] / rows_in), percentile_cont(0.5) WITHIN GROUP (ORDER BY phase_ms[4] / rows_in),
               percentile_cont(0.5) WITHIN GROUP (ORDER BY phase_ms[5] / rows_in), percentile_cont(0.5) WITHIN GROUP (ORDER BY phase_ms[6] / rows_in),
               percentile_cont(0.5) WITHIN GROUP (ORDER BY phase_ms[7] / rows_in)] AS phase_ms
    FROM attempt GROUP BY feature_set_id
)
SELECT f.name AS feature_set, a.series, regfeat.order_text(f.order_kind, a.lower_bound) AS "from", regfeat.order_text(f.order_kind, a.upper_bound) AS "to",
       a.seconds, a.rows_in, a.seconds / a.rows_in / m.seconds_per_row AS times_median, a.seconds - a.rows_in * m.seconds_per_row AS excess_seconds,
       phase.name AS phase, phase.ms AS phase_ms, phase.expected_ms AS phase_expected_ms,
       d.name AS daemon, a.worker, a.finished_at, a.partition_id, a.attempt_id
  FROM attempt a
  JOIN median m USING (feature_set_id)
  JOIN regfeat.feature_set f USING (feature_set_id)
  LEFT JOIN regfeat.daemon d ON d.daemon_id = a.daemon_id
  CROSS JOIN LATERAL (
    SELECT n.name, n.ms, n.expected_ms FROM unnest(ARRAY['claim', 'read', 'fit', 'encode', 'send', 'publish', 'commit', 'other'],
        a.phase_ms || (a.seconds * 1000 - (SELECT coalesce(sum(x), 0) FROM unnest(a.phase_ms) x)),
        ARRAY(SELECT e * a.rows_in FROM unnest(m.phase_ms) WITH ORDINALITY u(e, i) ORDER BY i) || 0::double precision) AS n(name, ms, expected_ms)
     ORDER BY n.ms - n.expected_ms DESC NULLS LAST LIMIT 1) phase
 WHERE m.attempts >= 5 AND a.seconds / a.rows_in > 2 * m.seconds_per_row
 ORDER BY excess_seconds DESC;
COMMENT ON VIEW regfeat.slow_partitions IS 'Finished partitions that took more than twice the median seconds per row of their feature set (of 5 and more), with the phase that took longer than usual. Worst first.';

CREATE VIEW regfeat.latest_progress AS
SELECT f.name AS feature_set, g.*
  FROM regfeat.feature_set f
  CROSS JOIN LATERAL (SELECT x.* FROM regfeat.progress x WHERE x.feature_set_id = f.feature_set_id ORDER BY x.at DESC LIMIT 1) g;
COMMENT ON VIEW regfeat.latest_progress IS 'The newest progress row of each feature set, however old it is.';

-- ---------------------------------------------------------------------------------------------- the model

CREATE TABLE regfeat.eta_model (
  feature_set_id    integer PRIMARY KEY REFERENCES regfeat.feature_set ON DELETE CASCADE,
  at                timestamptz NOT NULL,
  fixed_rows        double precision NOT NULL,
  empty_seconds     double precision NOT NULL,
  usual_rows        double precision NOT NULL,
  scaling_exponent  double precision NOT NULL
);
COMMENT ON TABLE  regfeat.eta_model IS 'What partitions cost, as the daemons have measured it: seconds = seconds_per_row(workers) * (rows + fixed_rows).';
COMMENT ON COLUMN regfeat.eta_model.fixed_rows IS 'The fixed cost of a partition, in rows.';
COMMENT ON COLUMN regfeat.eta_model.empty_seconds IS 'A partition without rows.';
COMMENT ON COLUMN regfeat.eta_model.usual_rows IS 'Rows of a partition, on average: rows per second are of such.';
COMMENT ON COLUMN regfeat.eta_model.scaling_exponent IS 'With more workers than were ever measured the cost of a row grows like workers to this power. 0: each worker adds its full speed; 1: none.';

CREATE TABLE regfeat.eta_curve (
  feature_set_id   integer NOT NULL REFERENCES regfeat.eta_model ON DELETE CASCADE,
  workers          integer NOT NULL,
  seconds_per_row  double precision NOT NULL,
  partitions       double precision NOT NULL,
  PRIMARY KEY (feature_set_id, workers)
);
COMMENT ON TABLE  regfeat.eta_curve IS 'Worker-seconds per row with so many workers at once: the measured curve, from one worker to as many as were measured.';
COMMENT ON COLUMN regfeat.eta_curve.seconds_per_row IS 'More workers are never slower together: seconds_per_row / workers does not grow. Numbers of workers that were not measured are carried over from others.';
COMMENT ON COLUMN regfeat.eta_curve.partitions IS 'Partitions that were measured with so many workers, older ones counting less. 0: none.';

CREATE FUNCTION regfeat.seconds_per_row(wanted integer, workers integer) RETURNS double precision
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT c.seconds_per_row * power($2::float8 / c.workers, m.scaling_exponent)
    FROM regfeat.eta_curve c JOIN regfeat.eta_model m USING (feature_set_id)
   WHERE c.feature_set_id = wanted AND c.workers <= $2 ORDER BY c.workers DESC LIMIT 1 $$;
COMMENT ON FUNCTION regfeat.seconds_per_row IS 'Worker-seconds per row of a feature set (by id) with so many workers, from the measured curve. NULL: nothing was measured.';

-- Workers take partitions in the order given, each the next as soon as it is free. Of many only the last are laid out one by one.
CREATE FUNCTION regfeat.model_seconds(wanted integer, row_counts double precision[], workers integer) RETURNS double precision
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  m regfeat.eta_model;
  per_row double precision := regfeat.seconds_per_row(wanted, workers);
  n integer := coalesce(cardinality(row_counts), 0);
  tail integer := least(n, greatest(64, 4 * workers));
  free double precision[];
  seconds double precision;
  first integer;
  bulk double precision;
BEGIN
  IF n = 0 THEN RETURN 0; END IF;
  SELECT * INTO m FROM regfeat.eta_model x WHERE x.feature_set_id = wanted;
  IF per_row IS NULL OR m IS NULL OR array_position(row_counts, NULL) IS NOT NULL THEN RETURN NULL; END IF;
  SELECT coalesce(sum(CASE WHEN r > 0 THEN per_row * (r + m.fixed_rows) ELSE m.empty_seconds END), 0) INTO bulk FROM unnest(row_counts[1:n - tail]) r;
  free := array_fill(bulk / workers, ARRAY[workers]);
  FOR i IN n - tail + 1 .. n LOOP
    seconds := CASE WHEN row_counts[i] > 0 THEN per_row * (row_counts[i] + m.fixed_rows) ELSE m.empty_seconds END;
    first := 1;
    FOR w IN 2 .. workers LOOP
      IF free[w] < free[first] THEN first := w; END IF;
    END LOOP;
    free[first] := free[first] + seconds;
  END LOOP;
  RETURN (SELECT max(f) FROM unnest(free) f);
END $$;
COMMENT ON FUNCTION regfeat.model_seconds IS 'How long partitions of so many rows each take with so many workers. NULL: unknown.';

-- Rows of partitions that were never read are estimates of the planner''s; they are corrected by how wrong it was so far.
CREATE FUNCTION regfeat.row_estimates(ids bigint[]) RETURNS TABLE (partition_id bigint, "rows" double precision)
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  WITH correction AS (
    SELECT p.feature_set_id, sum(p.rows_in) / nullif(sum(p.estimated_rows), 0) AS factor
      FROM regfeat.partition p
     WHERE p.feature_set_id IN (SELECT q.feature_set_id FROM regfeat.partition q WHERE q.partition_id = ANY (ids))
       AND p.rows_in IS NOT NULL AND p.estimated_rows > 0 GROUP BY p.feature_set_id)
  SELECT p.partition_id, coalesce(p.rows_in, p.estimated_rows * coalesce(c.factor, 1))::float8
    FROM regfeat.partition p LEFT JOIN correction c USING (feature_set_id) WHERE p.partition_id = ANY (ids) $$;
COMMENT ON FUNCTION regfeat.row_estimates IS 'Source rows of partitions: counted where they were read, else estimated. NULL: unknown.';

CREATE FUNCTION regfeat.eta_by_workers(feature_set text)
  RETURNS TABLE (workers integer, seconds double precision, finish_at timestamptz, rows_per_second double precision, basis text)
  LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  f regfeat.feature_set := regfeat.feature_set_named(feature_set);
  left_rows double precision[];
  configured integer;
  measured integer;
BEGIN
  -- What runs first, and of it what is not written yet.
  left_rows := ARRAY(
    SELECT greatest(e."rows" - coalesce(w.rows_done, 0), CASE WHEN e."rows" > 0 THEN 1 ELSE 0 END)
      FROM regfeat.partition p
      JOIN regfeat.row_estimates(ARRAY(SELECT q.partition_id FROM regfeat.partition q
                                        WHERE q.feature_set_id = f.feature_set_id AND q.state IN ('pending', 'running'))) e USING (partition_id)
      LEFT JOIN regfeat.worker w ON p.state = 'running' AND w.daemon_id = p.daemon_id AND w.worker = p.worker AND w.partition_id = p.partition_id
     WHERE p.feature_set_id = f.feature_set_id AND p.state IN ('pending', 'running')
     ORDER BY p.state = 'running' DESC, p.priority DESC, p.claim_rank, p.partition_id);
  SELECT coalesce(sum(d.workers_configured), 0) INTO configured FROM regfeat.daemon d WHERE d.state = 'running' AND d.heartbeat_at + d.lease >= now();
  SELECT max(c.workers) INTO measured FROM regfeat.eta_curve c WHERE c.feature_set_id = f.feature_set_id;
  FOR n IN 1 .. greatest(8, least(64, 2 * configured), coalesce(measured, 0)) LOOP
    workers := n;
    seconds := regfeat.model_seconds(f.feature_set_id, left_rows, n);
    finish_at := clock_timestamp() + seconds * interval '1 second';
    rows_per_second := (SELECT n * m.usual_rows / (regfeat.seconds_per_row(f.feature_set_id, n) * (m.usual_rows + m.fixed_rows))
                          FROM regfeat.eta_model m WHERE m.feature_set_id = f.feature_set_id);
    basis := (SELECT CASE WHEN count(*) = 0 THEN 'nothing was measured yet'
                          WHEN bool_or(c.workers = n) THEN format('measured: %s partitions', round(max(c.partitions) FILTER (WHERE c.workers = n)))
                          WHEN min(c.workers) < n AND max(c.workers) > n THEN 'between what was measured'
                          ELSE 'beyond what was measured' END
                FROM regfeat.eta_curve c WHERE c.feature_set_id = f.feature_set_id AND c.partitions >= 0.5);
    RETURN NEXT;
  END LOOP;
END $$;
COMMENT ON FUNCTION regfeat.eta_by_workers IS 'How long what is left takes with 1, 2, … workers, from the measured curve. basis says whether that number of workers was ever seen. Changes nothing.';

CREATE FUNCTION regfeat.requeue_preview(feature_set text, series text DEFAULT NULL, "from" text DEFAULT NULL, "to" text DEFAULT NULL, widen boolean DEFAULT false)
  RETURNS TABLE (partitions bigint, running bigint, "rows" bigint, rows_unknown bigint, workers bigint, estimated_time interval, basis text)
  LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  f regfeat.feature_set := regfeat.feature_set_named(feature_set);
  ids bigint[] := ARRAY(SELECT regfeat.select_partitions(f, series, "from", "to", widen));
  counts double precision[];
  with_workers integer;
BEGIN
  SELECT coalesce(sum(d.workers_configured), 0) INTO workers FROM regfeat.daemon d
   WHERE d.state = 'running' AND d.heartbeat_at + d.lease >= now();
  SELECT count(*), count(*) FILTER (WHERE p.state = 'running'), coalesce(sum(e."rows"), 0)::bigint, count(*) FILTER (WHERE e."rows" IS NULL),
         array_agg(e."rows" ORDER BY p.priority DESC, p.claim_rank, p.partition_id)
    INTO partitions, running, "rows", rows_unknown, counts
    FROM regfeat.partition p JOIN regfeat.row_estimates(ids) e USING (partition_id);
  with_workers := greatest(least(workers, partitions), 1);
  estimated_time := date_trunc('second', regfeat.model_seconds(f.feature_set_id, counts, with_workers) * interval '1 second' + interval '999 ms');
  basis := CASE WHEN rows_unknown > 0 THEN 'rows unknown: time unknown'
                WHEN estimated_time IS NULL THEN 'no history: time unknown'
                ELSE format('measured cost per row, with %s', CASE WHEN workers = 0 THEN 'one worker (no daemon is alive)' ELSE with_workers || ' workers' END) END;
  RETURN NEXT;
END $$;
COMMENT ON FUNCTION regfeat.requeue_preview IS 'What requeue with the same arguments would compute: partitions, rows, estimated time. Changes nothing.';

-- What the ETA needs to know of the pending partitions: the last ones in the order of claims, and of those before them their
-- number, rows, squares of rows, and how many are empty.
CREATE FUNCTION regfeat.remaining_rows(wanted integer, tail integer)
  RETURNS TABLE (tail_rows double precision[], partitions bigint, "rows" double precision, squared_rows double precision, empty bigint, unknown bigint)
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  WITH correction AS (
    SELECT sum(p.rows_in) / nullif(sum(p.estimated_rows), 0) AS factor, avg(p.rows_in) AS usual
      FROM regfeat.partition p WHERE p.feature_set_id = wanted AND p.rows_in IS NOT NULL AND p.estimated_rows > 0
  ), pending AS (
    SELECT coalesce(p.rows_in, p.estimated_rows * coalesce(c.factor, 1), c.usual)::float8 AS n,
           row_number() OVER (ORDER BY p.priority, p.claim_rank DESC, p.partition_id DESC) AS from_last
      FROM regfeat.partition p CROSS JOIN correction c WHERE p.feature_set_id = wanted AND p.state = 'pending'
  )
  SELECT coalesce(array_agg(n ORDER BY from_last DESC) FILTER (WHERE from_last <= tail AND n IS NOT NULL), '{}'),
         count(*) FILTER (WHERE from_last > tail AND n > 0), coalesce(sum(n) FILTER (WHERE from_last > tail), 0),
         coalesce(sum(n * n) FILTER (WHERE from_last > tail), 0), count(*) FILTER (WHERE from_last > tail AND n <= 0), count(*) FILTER (WHERE n IS NULL)
    FROM pending $$;
COMMENT ON FUNCTION regfeat.remaining_rows IS 'The pending partitions of a feature set (by id) as the ETA model takes them.';
