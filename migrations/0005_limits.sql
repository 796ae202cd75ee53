-- What holds a daemon back: memory and throttle.

ALTER TABLE regfeat.daemon ADD COLUMN workers_reason text, ADD COLUMN throttle text;
COMMENT ON COLUMN regfeat.daemon.workers_reason IS 'Why the daemon keeps fewer workers than it was told to: memory_budget does not carry more. NULL: it does.';
COMMENT ON COLUMN regfeat.daemon.throttle IS 'What holds the daemon back at the moment (throttle of its configuration): workers that rest because commits or replicas are slow, a bound on rows per second. NULL: nothing.';

ALTER TABLE regfeat.progress ADD COLUMN throttle text;
COMMENT ON COLUMN regfeat.progress.throttle IS 'What held daemons back when the row was written, with their names; NULL: nothing.';

CREATE OR REPLACE VIEW regfeat.daemons AS
SELECT d.daemon_id, d.name, d.host, d.process_id, d.build_id, d.state,
       CASE WHEN d.state IN ('running', 'draining') THEN d.heartbeat_at + d.lease > now() ELSE false END AS alive,
       d.started_at, d.heartbeat_at, d.lease, d.stopped_at, d.workers_desired, d.workers_configured, d.workers_active,
       d.desired_generation, d.applied_generation, d.settings_generation, d.settings, d.message,
       d.workers_reason, d.throttle
  FROM regfeat.daemon d ORDER BY d.daemon_id DESC;
COMMENT ON VIEW regfeat.daemons IS 'Every daemon process, newest first: what was asked of it (workers_desired), what it runs (workers_configured, settings), whether the two have met (applied_generation = desired_generation), and what holds it back (workers_reason, throttle).';
