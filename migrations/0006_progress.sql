-- Progress: rates, stall verdicts, what limits a run, slow partitions. docs/progress.md explains every figure.

ALTER TABLE regfeat.progress
  ADD COLUMN rows_per_second_now double precision,
  ADD COLUMN bytes_done          bigint,
  ADD COLUMN bytes_total         bigint,
  ADD COLUMN workers_configured  integer,
  ADD COLUMN stalled             text,
  ADD COLUMN limited_by          text CHECK (limited_by IN ('server', 'network', 'fits', 'source', 'throttle')),
  ADD COLUMN slow_partitions     bigint;
COMMENT ON COLUMN regfeat.progress.rows_per_second IS 'Source rows per second of all daemons, smoothed: what the ETA is made from. NULL: unknown.';
COMMENT ON COLUMN regfeat.progress.rows_per_second_now IS 'Source rows per second of all daemons since the row before this one.';
COMMENT ON COLUMN regfeat.progress.bytes_done IS 'Bytes of the COPY streams of the partitions that are done.';
COMMENT ON COLUMN regfeat.progress.bytes_total IS 'The same of all partitions, by bytes per row so far. NULL: unknown.';
COMMENT ON COLUMN regfeat.progress.workers_active IS 'Workers that run a partition of the feature set.';
COMMENT ON COLUMN regfeat.progress.workers_configured IS 'Workers of all daemons that are alive.';
COMMENT ON COLUMN regfeat.progress.eta IS 'When the last partition will be done: the median. NULL: unknown, because nothing has been measured or nothing runs.';
COMMENT ON COLUMN regfeat.progress.eta_low IS 'With eta_high the interval in which four of five runs end.';
COMMENT ON COLUMN regfeat.progress.stalled IS 'No partition finished and no row was written for three times the expected time: which worker, which step, how long. NULL: not stalled.';
COMMENT ON COLUMN regfeat.progress.limited_by IS 'Where the workers spend their time: server (COPY, constraints, commit), network, fits, source (reading), throttle.';
COMMENT ON COLUMN regfeat.progress.slow_partitions IS 'Rows of regfeat.slow_partitions for the feature set, when it was last counted (every 30 s).';

-- The last successful attempt of each partition against the median of its feature set.
CREATE VIEW regfeat.slow_partitions AS
WITH attempt AS (
  SELECT p.feature_set_id, p.series, p.lower_bound, p.upper_bound, p.partition_id, a.attempt_id, a.rows_in, a.daemon_id, a.worker, a.finished_at,
         extract(epoch FROM a.finished_at - a.started_at)::double precision AS seconds,
         ARRAY[a.claim_ms, a.read_ms, a.fit_ms, a.send_ms, a.publish_ms, coalesce(a.commit_ms, 0)] AS phase_ms
    FROM regfeat.partition p JOIN regfeat.attempt a USING (attempt_id)
   WHERE p.state = 'done' AND a.outcome = 'done' AND a.rows_in > 0
), median AS (
  SELECT feature_set_id, count(*) AS attempts,
         percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds / rows_in) AS seconds_per_row,
         ARRAY[percentile_cont(0.5) WITHIN GROUP (ORDER BY phase_ms[1] / rows_in), percentile_cont(0.5) WITHIN GROUP (ORDER BY phase_ms[2] / rows_in),
               percentile_cont(0.5) WITHIN GROUP (ORDER BY phase_ms[3] / rows_in), percentile_cont(0.5) WITHIN GROUP (ORDER BY phase_ms[4] / rows_in),
               percentile_cont(0.5) WITHIN GROUP (ORDER BY phase_ms[5] / rows_in), percentile_cont(0.5) WITHIN GROUP (ORDER BY phase_ms[6] / rows_in)] AS phase_ms
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
    SELECT n.name, n.ms, n.expected_ms FROM unnest(ARRAY['claim', 'read', 'fit', 'encode and send', 'publish', 'commit', 'other'],
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
