-- Schema regfeat: the work table and everything around it.
-- Applied by `regfeatd migrate` in one transaction, under an advisory lock.

-- Every table has a primary key: where a publication FOR ALL TABLES takes in this schema, rows of one without could not be deleted.
CREATE SCHEMA IF NOT EXISTS regfeat;
COMMENT ON SCHEMA regfeat IS 'Work table, history and progress of regfeatd. See docs/work-table.md.';

-- ---------------------------------------------------------------------------------------------- feature sets

CREATE TABLE regfeat.feature_set (
  feature_set_id         integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name                   text NOT NULL UNIQUE,
  specification_version  integer NOT NULL,
  order_kind             text NOT NULL CHECK (order_kind IN ('time', 'sequence')),
  claim_order            text NOT NULL DEFAULT 'oldest_first' CHECK (claim_order IN ('oldest_first', 'newest_first')),
  lookback_rows          bigint,
  lookback_span          bigint NOT NULL DEFAULT 0,
  paused_at              timestamptz,
  paused_reason          text,
  breaker_faults         integer NOT NULL DEFAULT 0,
  breaker_partition_id   bigint,
  breaker_until          timestamptz,
  breaker_reason         text,
  created_at             timestamptz NOT NULL DEFAULT now(),
  applied_at             timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE  regfeat.feature_set IS 'One row per named specification. Made and changed by `regfeatd apply`.';
COMMENT ON COLUMN regfeat.feature_set.specification_version IS 'The version in force; its text is in regfeat.specification.';
COMMENT ON COLUMN regfeat.feature_set.order_kind IS 'What orders the rows: time (bounds are microseconds since 2000-01-01 UTC) or sequence (bounds are the numbers themselves).';
COMMENT ON COLUMN regfeat.feature_set.lookback_rows IS 'How many earlier rows of a series a value depends on; NULL: no number of a series'' rows bounds it (windows that count rows per key). For requeue(widen => true).';
COMMENT ON COLUMN regfeat.feature_set.lookback_span IS 'The same as a distance, for range windows: microseconds, or sequence numbers.';
COMMENT ON COLUMN regfeat.feature_set.breaker_faults IS 'Consecutive configuration faults on different partitions; back to 0 with the first success.';
COMMENT ON COLUMN regfeat.feature_set.breaker_until IS 'The breaker is open: until then nothing is claimed, then one partition as a probe. A success closes it.';
COMMENT ON COLUMN regfeat.feature_set.paused_at IS 'Set: nothing of this feature set is claimed. Running partitions finish.';

CREATE TABLE regfeat.specification (
  feature_set_id   integer NOT NULL REFERENCES regfeat.feature_set ON DELETE CASCADE,
  version          integer NOT NULL,
  document         text NOT NULL,
  output_identity  text NOT NULL,
  calendar         text NOT NULL DEFAULT '',
  applied_at       timestamptz NOT NULL DEFAULT now(),
  applied_by       text NOT NULL DEFAULT current_user,
  build_id         text NOT NULL,
  PRIMARY KEY (feature_set_id, version)
);
COMMENT ON TABLE  regfeat.specification IS 'Every version of every specification, verbatim.';
COMMENT ON COLUMN regfeat.specification.output_identity IS 'What of the specification decides its output, in canonical form: equal texts give equal rows.';
COMMENT ON COLUMN regfeat.specification.calendar IS 'cadence and calendar in canonical form; empty: none. A change counts the rows again.';

-- ---------------------------------------------------------------------------------------------- daemons

CREATE TABLE regfeat.daemon (
  daemon_id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name                 text NOT NULL,
  host                 text NOT NULL,
  process_id           integer NOT NULL,
  process_identity     text NOT NULL DEFAULT '',
  build_id             text NOT NULL,
  started_at           timestamptz NOT NULL DEFAULT now(),
  heartbeat_at         timestamptz NOT NULL DEFAULT now(),
  lease                interval NOT NULL,
  stopped_at           timestamptz,
  state                text NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'draining', 'stopped', 'lost')),
  workers_configured   integer NOT NULL,
  workers_active       integer NOT NULL DEFAULT 0,
  workers_reason       text,
  workers_desired      integer CHECK (workers_desired BETWEEN 0 AND 1024),
  desired_generation   integer NOT NULL DEFAULT 0,
  applied_generation   integer NOT NULL DEFAULT 0,
  settings_generation  integer NOT NULL DEFAULT 1,
  settings             jsonb NOT NULL DEFAULT '{}',
  throttle             text,
  message              text
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 200);
COMMENT ON TABLE  regfeat.daemon IS 'One row per started daemon process. Its heartbeat is the lease of all partitions that it runs.';
COMMENT ON COLUMN regfeat.daemon.process_identity IS 'Boot, process namespace and start time: a daemon that starts on the same machine can tell that this one is dead before its lease runs out.';
COMMENT ON COLUMN regfeat.daemon.workers_configured IS 'The number of workers that the daemon keeps running now.';
COMMENT ON COLUMN regfeat.daemon.workers_reason IS 'Why the daemon keeps fewer workers than it was told to: memory_budget does not carry more. NULL: it does.';
COMMENT ON COLUMN regfeat.daemon.workers_desired IS 'What regfeat.set_workers asked for; NULL: the configuration decides.';
COMMENT ON COLUMN regfeat.daemon.desired_generation IS 'Grows with every set_workers.';
COMMENT ON COLUMN regfeat.daemon.applied_generation IS 'The desired_generation that the daemon has applied: equal means acknowledged.';
COMMENT ON COLUMN regfeat.daemon.settings_generation IS 'Grows with every change of settings that took effect, by SIGHUP or set_workers.';
COMMENT ON COLUMN regfeat.daemon.settings IS 'The settings in force.';
COMMENT ON COLUMN regfeat.daemon.throttle IS 'What holds the daemon back at the moment (throttle of its configuration): workers that rest because commits or replicas are slow, a bound on rows per second. NULL: nothing.';
COMMENT ON COLUMN regfeat.daemon.heartbeat_at IS 'A daemon whose heartbeat is older than its lease is lost: its partitions are given to others.';

CREATE TABLE regfeat.worker (
  daemon_id        bigint NOT NULL REFERENCES regfeat.daemon ON DELETE CASCADE,
  worker           integer NOT NULL,
  backend_pid      integer,
  partition_id     bigint,
  step             text NOT NULL,
  rows_done        bigint NOT NULL DEFAULT 0,
  rows_total       bigint NOT NULL DEFAULT 0,
  step_started_at  timestamptz NOT NULL DEFAULT now(),
  updated_at       timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (daemon_id, worker)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 500);
COMMENT ON TABLE regfeat.worker IS 'What each worker is doing, as of its daemon''s last progress report. The rows that claims scan are in regfeat.partition and are not touched by progress.';

-- ---------------------------------------------------------------------------------------------- the work table

CREATE TABLE regfeat.partition (
  partition_id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  feature_set_id         integer NOT NULL REFERENCES regfeat.feature_set ON DELETE CASCADE,
  series                 text NOT NULL,
  lower_bound            bigint NOT NULL,
  upper_bound            bigint NOT NULL,
  claim_rank             bigint NOT NULL,
  state                  text NOT NULL DEFAULT 'pending'
                           CHECK (state IN ('pending', 'running', 'done', 'empty', 'failed', 'cancelled')),
  epoch                  bigint NOT NULL DEFAULT 0,
  priority               integer NOT NULL DEFAULT 0,
  attempts               integer NOT NULL DEFAULT 0,
  disturbances           integer NOT NULL DEFAULT 0,
  not_before             timestamptz NOT NULL DEFAULT '-infinity',
  daemon_id              bigint,
  worker                 integer,
  backend_pid            integer,
  attempt_id             bigint,
  changed_at             timestamptz NOT NULL DEFAULT now(),
  estimated_rows         bigint,
  rows_in                bigint,
  rows_out               bigint,
  bytes_out              bigint,
  nulls_out              bigint,
  checksum               text,
  input_fingerprint      text,
  specification_version  integer,
  build_id               text,
  message                text,
  removed                boolean NOT NULL DEFAULT false,
  UNIQUE (feature_set_id, series, lower_bound),
  CHECK (lower_bound < upper_bound)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 1000,
        autovacuum_analyze_scale_factor = 0.05);
COMMENT ON TABLE  regfeat.partition IS 'The work table: one row per series and half-open range of a feature set.';
COMMENT ON COLUMN regfeat.partition.lower_bound IS 'First position of the range: microseconds since 2000-01-01 UTC, or the sequence number. regfeat.partition_status shows it readably.';
COMMENT ON COLUMN regfeat.partition.upper_bound IS 'First position after the range.';
COMMENT ON COLUMN regfeat.partition.claim_rank IS 'lower_bound, negated where the feature set wants the newest range first: claims go by priority, then this.';
COMMENT ON COLUMN regfeat.partition.epoch IS 'Fencing number: grows at every claim, requeue and cancel. An attempt commits only if the epoch is still the one it claimed.';
COMMENT ON COLUMN regfeat.partition.attempts IS 'Attempts charged since the last requeue; at the limit a failure makes the state failed.';
COMMENT ON COLUMN regfeat.partition.disturbances IS 'Attempts that ended through no fault of the partition (lost connection, lost daemon) since the last requeue; bounded too.';
COMMENT ON COLUMN regfeat.partition.not_before IS 'Back-off: not claimed earlier.';
COMMENT ON COLUMN regfeat.partition.rows_in IS 'Source rows inside the range (look-back rows are not counted) when it was last computed.';
COMMENT ON COLUMN regfeat.partition.rows_out IS 'Rows in each target.';
COMMENT ON COLUMN regfeat.partition.checksum IS 'XXH3 of the COPY tuples written, over all targets in their order.';
COMMENT ON COLUMN regfeat.partition.removed IS 'The specification names it no longer: apply cancelled it. Its rows stay in the targets; nothing waits for it.';
COMMENT ON COLUMN regfeat.partition.input_fingerprint IS 'XXH3 of the input rows, look-back included, the specification''s output identity and the engine version.';

-- Serves exactly the claim: the pending partitions of one feature set, in claim order.
-- not_before stands at the end so that partitions in back-off are passed over inside the index.
CREATE INDEX partition_claim ON regfeat.partition (feature_set_id, priority DESC, claim_rank, partition_id, not_before) WHERE state = 'pending';
-- Serves fairness, rescue and the status views: it has as many entries as there are workers.
CREATE INDEX partition_running ON regfeat.partition (feature_set_id, daemon_id) WHERE state = 'running';
CREATE INDEX partition_failed ON regfeat.partition (feature_set_id) WHERE state = 'failed';

CREATE TABLE regfeat.attempt (
  attempt_id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  partition_id           bigint NOT NULL REFERENCES regfeat.partition ON DELETE CASCADE,
  feature_set_id         integer NOT NULL,
  epoch                  bigint NOT NULL,
  daemon_id              bigint NOT NULL,
  worker                 integer NOT NULL,
  backend_pid            integer,
  build_id               text NOT NULL,
  specification_version  integer NOT NULL,
  started_at             timestamptz NOT NULL DEFAULT clock_timestamp(),
  finished_at            timestamptz,
  outcome                text NOT NULL DEFAULT 'running' CHECK (outcome IN
                           ('running', 'done', 'empty', 'unchanged', 'failed', 'disturbed', 'fenced', 'lost', 'returned')),
  fault_class            text,
  step                   text,
  sqlstate               text,
  message                text,
  context                text,
  rows_in                bigint,
  rows_out               bigint,
  bytes_out              bigint,
  nulls_out              bigint,
  claim_ms               double precision,
  read_ms                double precision,
  wait_ms                double precision,
  fit_ms                 double precision,
  encode_ms              double precision,
  send_ms                double precision,
  publish_ms             double precision,
  commit_ms              double precision
) WITH (fillfactor = 80);
COMMENT ON TABLE  regfeat.attempt IS 'Every try at a partition, recorded when it starts.';
COMMENT ON COLUMN regfeat.attempt.outcome IS 'running; done, empty, unchanged (success); failed (charged); disturbed (connection or server lost, not charged); fenced (a requeue, cancel or another daemon came first); lost (its daemon''s lease ran out); returned (given back at shutdown).';
COMMENT ON COLUMN regfeat.attempt.finished_at IS 'Of a success: just before COMMIT. commit_ms comes on top.';
COMMENT ON COLUMN regfeat.attempt.wait_ms IS 'Between reading and sending rows, where `writers` lets no more workers send.';
COMMENT ON COLUMN regfeat.attempt.encode_ms IS 'Turning columns into the rows that COPY takes: with read_ms and fit_ms what the daemon does itself.';
COMMENT ON COLUMN regfeat.attempt.send_ms IS 'Sending rows, the server''s COPY included.';
CREATE INDEX attempt_partition ON regfeat.attempt (partition_id, attempt_id);
CREATE INDEX attempt_finished ON regfeat.attempt (feature_set_id, finished_at);
CREATE INDEX attempt_running ON regfeat.attempt (daemon_id) WHERE outcome = 'running';

-- ---------------------------------------------------------------------------------------------- progress

CREATE TABLE regfeat.progress (
  progress_id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at                   timestamptz NOT NULL DEFAULT now(),
  next_due             timestamptz NOT NULL DEFAULT now() + interval '2 seconds',
  feature_set_id       integer NOT NULL REFERENCES regfeat.feature_set ON DELETE CASCADE,
  daemon_id            bigint,
  pending              bigint NOT NULL,
  running              bigint NOT NULL,
  done                 bigint NOT NULL,
  empty                bigint NOT NULL,
  failed               bigint NOT NULL,
  cancelled            bigint NOT NULL,
  rows_done            bigint NOT NULL,
  rows_total           bigint,
  bytes_done           bigint,
  bytes_total          bigint,
  percent              double precision,
  rows_per_second      double precision,
  rows_per_second_now  double precision,
  workers_active       integer NOT NULL,
  workers_configured   integer,
  eta                  timestamptz,
  eta_low              timestamptz,
  eta_high             timestamptz,
  stalled              text,
  limited_by           text CHECK (limited_by IN ('server', 'network', 'fits', 'source', 'throttle')),
  throttle             text,
  slow_partitions      bigint
) WITH (autovacuum_vacuum_scale_factor = 0.2);
COMMENT ON TABLE  regfeat.progress IS 'A row per feature set every few seconds while any of its work is in hand.';
COMMENT ON COLUMN regfeat.progress.next_due IS 'When the daemon that wrote the row means to write the next one.';
COMMENT ON COLUMN regfeat.progress.daemon_id IS 'The daemon that wrote the row. Counts are of the whole feature set, whoever writes.';
COMMENT ON COLUMN regfeat.progress.rows_total IS 'Source rows of all partitions: counted where computed, estimated from statistics elsewhere. NULL: unknown.';
COMMENT ON COLUMN regfeat.progress.bytes_done IS 'Bytes of the COPY streams of the partitions that are done.';
COMMENT ON COLUMN regfeat.progress.bytes_total IS 'The same of all partitions, by bytes per row so far. NULL: unknown.';
COMMENT ON COLUMN regfeat.progress.rows_per_second IS 'Source rows per second of all daemons, smoothed: what the ETA is made from. Of partitions that are written; unchanged ones do not count. NULL: unknown, or stalled.';
COMMENT ON COLUMN regfeat.progress.rows_per_second_now IS 'Source rows per second of all daemons since the row before this one; those of unchanged partitions, which nobody writes, are left out.';
COMMENT ON COLUMN regfeat.progress.workers_active IS 'Workers that run a partition of the feature set.';
COMMENT ON COLUMN regfeat.progress.workers_configured IS 'Workers of all daemons that are alive.';
COMMENT ON COLUMN regfeat.progress.eta IS 'When the last partition will be done: the median. NULL: unknown, because nothing has been measured, nothing runs, or what runs is stalled.';
COMMENT ON COLUMN regfeat.progress.eta_low IS 'With eta_high the interval in which four of five runs end.';
COMMENT ON COLUMN regfeat.progress.stalled IS 'No partition finished and no row was written for three times the expected time: which worker, which step, how long. NULL: not stalled.';
COMMENT ON COLUMN regfeat.progress.limited_by IS 'Where the workers spend their time: server (COPY, constraints, commit), network, fits, source (reading), throttle.';
COMMENT ON COLUMN regfeat.progress.throttle IS 'What held daemons back when the row was written, with their names; NULL: nothing.';
COMMENT ON COLUMN regfeat.progress.slow_partitions IS 'Rows of regfeat.slow_partitions for the feature set, when it was last counted (every 30 s).';
CREATE INDEX progress_latest ON regfeat.progress (feature_set_id, at DESC);

CREATE TABLE regfeat.daemon_progress (
  at                  timestamptz NOT NULL DEFAULT now(),
  daemon_id           bigint NOT NULL REFERENCES regfeat.daemon ON DELETE CASCADE,
  workers_active      integer NOT NULL,
  workers_configured  integer NOT NULL,
  partitions          bigint NOT NULL,
  rows_per_second     double precision,
  PRIMARY KEY (daemon_id, at)
);
CREATE INDEX daemon_progress_at ON regfeat.daemon_progress (at);
COMMENT ON TABLE  regfeat.daemon_progress IS 'A row per daemon every few seconds while it works: its share of what regfeat.progress says of feature sets.';
COMMENT ON COLUMN regfeat.daemon_progress.partitions IS 'Attempts that it finished since its row before this one, whatever their outcome.';
COMMENT ON COLUMN regfeat.daemon_progress.rows_per_second IS 'Source rows of the partitions among them that are done, per second. NULL in its first row.';

-- ---------------------------------------------------------------------------------------------- helpers

CREATE FUNCTION regfeat.order_text(order_kind text, bound bigint) RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  AS $$ SELECT CASE order_kind
          WHEN 'time' THEN to_char(timestamp '2000-01-01' + bound * interval '1 microsecond', 'YYYY-MM-DD HH24:MI:SS') || '+00'
          ELSE bound::text END $$;
COMMENT ON FUNCTION regfeat.order_text IS 'A bound of a partition, readably.';

CREATE FUNCTION regfeat.order_time(order_kind text, bound bigint) RETURNS timestamptz
  LANGUAGE sql STABLE PARALLEL SAFE
  AS $$ SELECT CASE order_kind WHEN 'time' THEN timestamptz '2000-01-01 00:00:00+00' + bound * interval '1 microsecond' END $$;
COMMENT ON FUNCTION regfeat.order_time IS 'A bound of a partition as a time; NULL for sequences.';

-- Ends the backend that claimed a partition, if it is still there and may be ended: it may hold locks on the targets and,
-- between the completing UPDATE and COMMIT, on the work row. A backend that started before the claim and has its process
-- id is the claimant's: ids are not reused while in use. In a restored copy of the database beside the original it would be
-- the original's: another database's backends are left alone. NULL (behind a transaction pooler): nothing can be told.
CREATE FUNCTION regfeat.end_backend(claimant_backend integer, claimed_at timestamptz) RETURNS boolean
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN coalesce((SELECT pg_terminate_backend(a.pid) FROM pg_stat_activity a
                    WHERE a.pid = claimant_backend AND a.backend_start <= claimed_at AND a.application_name LIKE 'regfeatd/%'
                      AND a.datname = current_database()
                      AND a.pid <> pg_backend_pid()), false);
EXCEPTION WHEN insufficient_privilege THEN
  RETURN false;
END $$;
COMMENT ON FUNCTION regfeat.end_backend IS 'Ends the backend of a claimant that is gone or stalls, where that is allowed.';

-- The caller has locked the row.
CREATE FUNCTION regfeat.release_partition(released bigint, reason text) RETURNS bigint
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  new_epoch bigint;
BEGIN
  UPDATE regfeat.partition q
     SET state = CASE WHEN q.disturbances >= 100 THEN 'failed' ELSE 'pending' END,
         epoch = q.epoch + 1, attempts = greatest(q.attempts - 1, 0), disturbances = q.disturbances + 1,
         daemon_id = NULL, worker = NULL, backend_pid = NULL, changed_at = clock_timestamp(), message = reason
   WHERE q.partition_id = released RETURNING q.epoch INTO new_epoch;
  UPDATE regfeat.attempt a SET outcome = 'lost', finished_at = clock_timestamp(), message = reason
   WHERE a.partition_id = released AND a.outcome = 'running';
  RETURN new_epoch;
END $$;
COMMENT ON FUNCTION regfeat.release_partition IS 'Gives one running partition back to the queue, uncharged up to 100 times. Its epoch is returned.';

-- Partitions whose daemon is gone: claimable at once, with a new epoch. The epoch fences their transactions in any case;
-- ending the backends frees their locks. A row that such a transaction has locked (it stalls right before its COMMIT) is
-- passed over, so that nobody's heartbeat waits for it, and taken by the next call.
CREATE FUNCTION regfeat.release_partitions(gone bigint, reason text) RETURNS TABLE (partition_id bigint, epoch bigint)
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
  PERFORM regfeat.end_backend(q.backend_pid, q.changed_at) FROM regfeat.partition q
    WHERE q.state = 'running' AND q.daemon_id = gone AND q.backend_pid IS NOT NULL;
  FOR partition_id IN
    SELECT q.partition_id FROM regfeat.partition q
     WHERE q.state = 'running' AND q.daemon_id = gone ORDER BY q.partition_id FOR UPDATE SKIP LOCKED
  LOOP
    epoch := regfeat.release_partition(partition_id, reason);
    RETURN NEXT;
  END LOOP;
  -- Attempts at partitions that were requeued or cancelled while this daemon ran them.
  UPDATE regfeat.attempt a SET outcome = 'fenced', finished_at = clock_timestamp(), message = concat_ws('; ', a.message, reason)
    FROM regfeat.partition q
   WHERE a.daemon_id = gone AND a.outcome = 'running' AND q.partition_id = a.partition_id AND q.epoch <> a.epoch;
END $$;
COMMENT ON FUNCTION regfeat.release_partitions IS 'Gives the partitions of a daemon that is gone back to the queue, uncharged up to 100 times.';

CREATE FUNCTION regfeat.release_daemon(gone bigint, reason text) RETURNS TABLE (partition_id bigint, epoch bigint)
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  UPDATE regfeat.daemon d SET state = 'lost', stopped_at = clock_timestamp(), workers_active = 0, message = reason WHERE d.daemon_id = gone;
  DELETE FROM regfeat.worker w WHERE w.daemon_id = gone;
  RETURN QUERY SELECT * FROM regfeat.release_partitions(gone, reason);
END $$;
COMMENT ON FUNCTION regfeat.release_daemon IS 'Declares a daemon lost and gives its partitions back to the queue.';

CREATE FUNCTION regfeat.rescue() RETURNS TABLE (partition_id bigint, lost_daemon_id bigint)
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  d record;
BEGIN
  FOR d IN
    SELECT x.daemon_id, x.name FROM regfeat.daemon x
     WHERE x.state IN ('running', 'draining') AND x.heartbeat_at + x.lease < clock_timestamp()
     ORDER BY x.daemon_id FOR UPDATE SKIP LOCKED
  LOOP
    RETURN QUERY SELECT r.partition_id, d.daemon_id FROM regfeat.release_daemon(d.daemon_id, 'daemon ' || d.name || ' lost its lease') r;
  END LOOP;
  -- What was passed over the last time, and what a daemon that stopped could not give back.
  FOR d IN
    SELECT DISTINCT q.daemon_id, coalesce(x.name, q.daemon_id::text) AS name FROM regfeat.partition q
      LEFT JOIN regfeat.daemon x ON x.daemon_id = q.daemon_id
     WHERE q.state = 'running' AND (x.daemon_id IS NULL OR x.state IN ('lost', 'stopped')) ORDER BY q.daemon_id
  LOOP
    RETURN QUERY SELECT r.partition_id, d.daemon_id FROM regfeat.release_partitions(d.daemon_id, 'daemon ' || d.name || ' is gone') r;
  END LOOP;
END $$;
COMMENT ON FUNCTION regfeat.rescue IS 'Releases every daemon whose lease ran out. Called by each daemon with its heartbeat.';

-- ---------------------------------------------------------------------------------------------- dependencies

CREATE TABLE regfeat.dependency (
  feature_set_id  integer NOT NULL REFERENCES regfeat.feature_set ON DELETE CASCADE,
  requires_id     integer NOT NULL REFERENCES regfeat.feature_set,
  lookback        bigint,
  PRIMARY KEY (feature_set_id, requires_id)
);
COMMENT ON TABLE  regfeat.dependency IS 'depends_on of the specifications in force. Written by apply.';
COMMENT ON COLUMN regfeat.dependency.lookback IS 'How far before its range a partition reads, in units of its bounds; NULL: windows by rows reach back an unknown distance, so everything earlier counts.';

CREATE INDEX partition_undone ON regfeat.partition (feature_set_id, series, lower_bound) WHERE state NOT IN ('done', 'empty') AND NOT removed;

-- Called for every pending partition of a dependent feature set until one is free: hence the index of its own, and settings that
-- keep to it, planned once a session. ROWS: believing in the usual 1,000, a plan that joins the result would read whole tables.
CREATE FUNCTION regfeat.waits_for(feature_set_id integer, series text, lower_bound bigint, upper_bound bigint, at_most bigint DEFAULT NULL)
  RETURNS SETOF regfeat.partition
  LANGUAGE plpgsql STABLE ROWS 10 SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
  SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
DECLARE
  wanted_series text := series;
  low bigint := lower_bound;
  high bigint := upper_bound;
  dependent integer := feature_set_id;
  d record;
BEGIN
  FOR d IN SELECT x.requires_id, x.lookback FROM regfeat.dependency x WHERE x.feature_set_id = dependent LOOP
    IF EXISTS (SELECT FROM regfeat.partition a WHERE a.feature_set_id = d.requires_id AND a.series = wanted_series AND NOT a.removed) THEN
      RETURN QUERY SELECT a.* FROM regfeat.partition a
        WHERE a.feature_set_id = d.requires_id AND a.series = wanted_series AND a.state NOT IN ('done', 'empty') AND NOT a.removed
          AND a.lower_bound < high AND (d.lookback IS NULL OR a.upper_bound > low - d.lookback)
        ORDER BY a.lower_bound DESC LIMIT at_most;  -- the nearest first, so that one is found at once
    ELSE  -- it has none of that name: all of its series count
      RETURN QUERY SELECT a.* FROM regfeat.partition a
        WHERE a.feature_set_id = d.requires_id AND a.state NOT IN ('done', 'empty') AND NOT a.removed
          AND a.lower_bound < high AND (d.lookback IS NULL OR a.upper_bound > low - d.lookback) LIMIT at_most;
    END IF;
    EXIT WHEN FOUND AND at_most = 1;
  END LOOP;
END $$;
COMMENT ON FUNCTION regfeat.waits_for IS 'The partitions that one has to wait for because of depends_on.';

-- A failed one first: it says why nothing moves. Where what one waits for is only pending, and waits for others itself, the reason
-- is further on: up to eight sets deep, each time through the first and the last three of those, which reach back over what lies between.
CREATE FUNCTION regfeat.blocked_by(wanted bigint) RETURNS text
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  waiting bigint[] := ARRAY[wanted];
  worst bigint;
  reason text;
  cause record;
BEGIN
  FOR depth IN 1..8 LOOP
    SELECT (min(ARRAY[(a.state <> 'failed')::int, (a.state <> 'cancelled')::int, a.lower_bound, a.partition_id]::bigint[]))[4],
           array_remove((min(ARRAY[a.lower_bound, a.partition_id]) FILTER (WHERE onward))[2]
             || (array_agg(a.partition_id ORDER BY a.upper_bound DESC, a.partition_id) FILTER (WHERE onward))[1:3], NULL)
      INTO worst, waiting
      FROM regfeat.partition p
      CROSS JOIN LATERAL regfeat.waits_for(p.feature_set_id, p.series, p.lower_bound, p.upper_bound) a
      CROSS JOIN LATERAL (SELECT a.state = 'pending' AND EXISTS (
        SELECT FROM regfeat.dependency d WHERE d.feature_set_id = a.feature_set_id) AS onward) o
     WHERE p.partition_id = ANY (waiting);
    EXIT WHEN worst IS NULL;
    SELECT a.state IN ('failed', 'cancelled') AS final,
           format('waits for %s, series %s, %s: %s%s', g.name, a.series, regfeat.order_text(g.order_kind, a.lower_bound), a.state,
                  coalesce(' (' || a.message || ')', '')) AS words
      INTO cause
      FROM regfeat.partition a JOIN regfeat.feature_set g USING (feature_set_id) WHERE a.partition_id = worst;
    IF depth = 1 THEN
      reason := cause.words;
    ELSIF cause.final THEN
      reason := reason || ', which ' || cause.words;
    END IF;
    EXIT WHEN cause.final OR waiting = '{}';
  END LOOP;
  RETURN reason;
END $$;
COMMENT ON FUNCTION regfeat.blocked_by IS 'What a partition waits for because of depends_on, in words, and behind that the failed or cancelled partition that all wait for; NULL: nothing.';

-- One index scan in claim order, that ends at the first free partition.
CREATE FUNCTION regfeat.free_priority(dependent integer, instant timestamptz, at_least integer) RETURNS integer
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
  SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET jit = off AS $$
BEGIN
  RETURN (SELECT q.priority FROM regfeat.partition q
           WHERE q.feature_set_id = dependent AND q.state = 'pending' AND q.not_before <= instant
             AND q.priority >= coalesce(at_least, -2147483648)
             AND NOT EXISTS (SELECT FROM regfeat.waits_for(q.feature_set_id, q.series, q.lower_bound, q.upper_bound, 1))
           ORDER BY q.priority DESC, q.claim_rank, q.partition_id LIMIT 1);
END $$;
COMMENT ON FUNCTION regfeat.free_priority IS 'The highest priority, from a least one on, at which a dependent feature set has a partition that nothing blocks; NULL: it has none.';

-- The SET clauses keep plans on the claim index whatever the statistics say (a work table that was just filled has none).
-- `instant` is a variable because clock_timestamp(), being volatile, could not be looked up inside the index.
CREATE FUNCTION regfeat.claim(claimant bigint, claimant_worker integer, claimant_backend integer, claimant_build text)
  RETURNS TABLE (partition_id bigint, attempt_id bigint, epoch bigint, attempts integer, feature_set_id integer,
                 specification_version integer, series text, lower_bound bigint, upper_bound bigint)
  LANGUAGE plpgsql
  SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET jit = off AS $$
DECLARE
  s record;
  p record;
  a bigint;
  version integer;
  instant timestamptz := clock_timestamp();
  offered integer;
BEGIN
  -- A daemon that was declared lost, or whose lease just ran out, claims nothing: others would take it away at once.
  PERFORM FROM regfeat.daemon d
    WHERE d.daemon_id = claimant AND d.state = 'running' AND d.heartbeat_at + d.lease >= instant;
  IF NOT FOUND THEN
    RETURN;
  END IF;
  -- What feature sets that wait for nobody offer: a dependent one that can only offer less need not be searched for a free partition.
  IF EXISTS (SELECT FROM regfeat.dependency) THEN
    SELECT max(top.priority) INTO offered
      FROM regfeat.feature_set f
      CROSS JOIN LATERAL (SELECT q.priority FROM regfeat.partition q
                           WHERE q.feature_set_id = f.feature_set_id AND q.state = 'pending' AND q.not_before <= instant
                           ORDER BY q.priority DESC, q.claim_rank, q.partition_id LIMIT 1) top
     WHERE f.paused_at IS NULL AND (f.breaker_until IS NULL OR f.breaker_until <= instant)
       AND NOT EXISTS (SELECT FROM regfeat.dependency d WHERE d.feature_set_id = f.feature_set_id);
  END IF;
  -- Highest priority first; among equals the feature set with the fewest running partitions. A dependent one counts by the
  -- first of its partitions that nothing blocks.
  FOR s IN
    SELECT f.feature_set_id, f.breaker_until IS NOT NULL AS probing, x.dependent
      FROM regfeat.feature_set f
      CROSS JOIN LATERAL (SELECT EXISTS (SELECT FROM regfeat.dependency d WHERE d.feature_set_id = f.feature_set_id) AS dependent) x
      CROSS JOIN LATERAL (SELECT q.priority FROM regfeat.partition q
                           WHERE q.feature_set_id = f.feature_set_id AND q.state = 'pending' AND q.not_before <= instant
                           ORDER BY q.priority DESC, q.claim_rank, q.partition_id LIMIT 1) top
     WHERE f.paused_at IS NULL AND (f.breaker_until IS NULL OR f.breaker_until <= instant)
     ORDER BY CASE WHEN NOT x.dependent OR top.priority < offered THEN top.priority
                   ELSE regfeat.free_priority(f.feature_set_id, instant, offered) END DESC NULLS LAST,
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
       AND (NOT s.dependent OR NOT EXISTS (SELECT FROM regfeat.waits_for(q.feature_set_id, q.series, q.lower_bound, q.upper_bound, 1)))
     ORDER BY q.priority DESC, q.claim_rank, q.partition_id
     LIMIT 1 FOR UPDATE SKIP LOCKED;
    CONTINUE WHEN NOT FOUND;
    IF s.probing THEN
      UPDATE regfeat.feature_set f SET breaker_until = instant + interval '1 minute' WHERE f.feature_set_id = s.feature_set_id;
    END IF;

    -- Read now that the row is locked: apply raises the version under the same locks, perhaps since the loop began.
    SELECT f.specification_version INTO version FROM regfeat.feature_set f WHERE f.feature_set_id = s.feature_set_id;
    INSERT INTO regfeat.attempt AS t (partition_id, feature_set_id, epoch, daemon_id, worker, backend_pid, build_id, specification_version)
      VALUES (p.partition_id, s.feature_set_id, p.epoch + 1, claimant, claimant_worker, claimant_backend, claimant_build, version)
      RETURNING t.attempt_id INTO a;
    UPDATE regfeat.partition q
       SET state = 'running', epoch = p.epoch + 1, attempts = p.attempts + 1, daemon_id = claimant, worker = claimant_worker,
           backend_pid = claimant_backend, attempt_id = a, changed_at = clock_timestamp()
     WHERE q.partition_id = p.partition_id;
    RETURN QUERY SELECT p.partition_id, a, p.epoch + 1, p.attempts + 1, s.feature_set_id, version,
                        p.series, p.lower_bound, p.upper_bound;
    RETURN;
  END LOOP;
END $$;
COMMENT ON FUNCTION regfeat.claim IS 'Takes the next partition: raises its epoch and attempt count, records the attempt. Commit before working on it.';

-- ---------------------------------------------------------------------------------------------- views

CREATE VIEW regfeat.partition_status AS
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
COMMENT ON VIEW regfeat.partition_status IS 'One row per partition, with readable bounds and, while it runs, who runs it and how far.';

-- What nobody renews is no foresight: the row must not have missed three of its kind, and somebody must be there to do the work.
CREATE VIEW regfeat.current_progress AS
SELECT g.*
  FROM regfeat.feature_set f
  CROSS JOIN LATERAL (SELECT x.* FROM regfeat.progress x WHERE x.feature_set_id = f.feature_set_id ORDER BY x.at DESC LIMIT 1) g
 WHERE g.at + 3 * (g.next_due - g.at) + interval '5 seconds' > now()
   AND EXISTS (SELECT FROM regfeat.daemon d WHERE d.state IN ('running', 'draining') AND d.heartbeat_at + d.lease >= now());
COMMENT ON VIEW regfeat.current_progress IS 'The newest progress row of each feature set, where it still counts: it was renewed in time, and a daemon is alive.';

CREATE VIEW regfeat.status AS
WITH counts AS (
  SELECT feature_set_id, count(*) AS partitions,
         count(*) FILTER (WHERE state = 'pending') AS pending,
         count(*) FILTER (WHERE state = 'running') AS running,
         count(*) FILTER (WHERE state = 'done') AS done,
         count(*) FILTER (WHERE state = 'empty') AS empty,
         count(*) FILTER (WHERE state = 'failed') AS failed,
         count(*) FILTER (WHERE state = 'cancelled') AS cancelled,
         coalesce(sum(rows_in) FILTER (WHERE state IN ('done', 'empty')), 0)::bigint AS rows_done,
         CASE WHEN bool_and(state IN ('done', 'empty', 'cancelled') OR estimated_rows IS NOT NULL OR rows_in IS NOT NULL)
              THEN coalesce(sum(CASE WHEN state IN ('done', 'empty') THEN rows_in
                                     WHEN state <> 'cancelled' THEN coalesce(rows_in, estimated_rows) END), 0)::bigint END AS rows_total
    FROM regfeat.partition WHERE NOT removed GROUP BY feature_set_id
), blocked AS (
  SELECT p.feature_set_id, count(*) AS partitions, min(p.partition_id) AS first
    FROM regfeat.partition p
   WHERE p.state = 'pending' AND p.feature_set_id IN (SELECT d.feature_set_id FROM regfeat.dependency d)
     AND EXISTS (SELECT FROM regfeat.waits_for(p.feature_set_id, p.series, p.lower_bound, p.upper_bound, 1))
   GROUP BY p.feature_set_id
), work AS (
  SELECT p.feature_set_id, count(*) FILTER (WHERE d.daemon_id IS NOT NULL) AS workers, coalesce(sum(w.rows_done), 0)::bigint AS rows_in_hand,
         count(*) FILTER (WHERE w.updated_at < now() - greatest(interval '2 minutes', 3 * (g.next_due - g.at))
                             OR w.updated_at - w.step_started_at > interval '10 minutes') AS stalled
    FROM regfeat.partition p
    LEFT JOIN regfeat.daemon d ON d.daemon_id = p.daemon_id AND d.state IN ('running', 'draining') AND d.heartbeat_at + d.lease >= now()
    LEFT JOIN regfeat.worker w ON w.daemon_id = p.daemon_id AND w.worker = p.worker AND w.partition_id = p.partition_id
    LEFT JOIN regfeat.current_progress g USING (feature_set_id)
   WHERE p.state = 'running' GROUP BY p.feature_set_id
)
SELECT f.name AS feature_set,
       coalesce(c.partitions, 0) AS partitions, coalesce(c.pending, 0) AS pending, coalesce(c.running, 0) AS running,
       coalesce(c.done, 0) AS done, coalesce(c.empty, 0) AS empty, coalesce(c.failed, 0) AS failed, coalesce(c.cancelled, 0) AS cancelled,
       CASE WHEN coalesce(c.partitions, 0) = c.done + c.empty + c.cancelled THEN 100.0
            WHEN c.rows_total > 0 THEN least(99.9, round((100.0 * (c.rows_done + coalesce(k.rows_in_hand, 0)) / c.rows_total)::numeric, 1))
            ELSE round(100.0 * (c.done + c.empty + c.cancelled) / c.partitions, 1) END::double precision AS percent,
       c.rows_done, c.rows_total,
       CASE WHEN c.pending + c.running > 0 THEN g.rows_per_second END AS rows_per_second,
       CASE WHEN c.pending + c.running > 0 THEN g.eta END AS eta,
       CASE WHEN c.pending + c.running > 0 THEN g.eta_low END AS eta_low,
       CASE WHEN c.pending + c.running > 0 THEN g.eta_high END AS eta_high,
       coalesce(k.workers, 0) AS workers, coalesce(k.stalled, 0) AS stalled_workers,
       f.paused_at, coalesce(f.paused_reason, f.breaker_reason) AS paused_reason, f.breaker_until, f.specification_version,
       coalesce(b.partitions, 0) AS blocked, regfeat.blocked_by(b.first) AS blocked_reason
  FROM regfeat.feature_set f
  LEFT JOIN counts c USING (feature_set_id)
  LEFT JOIN blocked b USING (feature_set_id)
  LEFT JOIN work k USING (feature_set_id)
  LEFT JOIN regfeat.current_progress g USING (feature_set_id);
COMMENT ON VIEW regfeat.status IS 'One row per feature set: counts by state, percent, rows per second, ETA with a low and a high bound, workers (of live daemons).';

CREATE VIEW regfeat.failures AS
SELECT f.name AS feature_set, p.series, regfeat.order_text(f.order_kind, p.lower_bound) AS "from",
       regfeat.order_text(f.order_kind, p.upper_bound) AS "to", p.state, a.outcome, a.fault_class, a.step, a.sqlstate, a.message, a.context,
       a.finished_at, p.attempts, a.build_id, d.name AS daemon, a.worker, p.partition_id, a.attempt_id
  FROM regfeat.attempt a
  JOIN regfeat.partition p USING (partition_id)
  JOIN regfeat.feature_set f ON f.feature_set_id = p.feature_set_id
  LEFT JOIN regfeat.daemon d ON d.daemon_id = a.daemon_id
 WHERE a.outcome IN ('failed', 'disturbed', 'lost', 'fenced')
 ORDER BY a.finished_at DESC NULLS LAST;
COMMENT ON VIEW regfeat.failures IS 'Attempts that did not succeed, newest first, with where and why.';

CREATE VIEW regfeat.daemons AS
SELECT d.daemon_id, d.name, d.host, d.process_id, d.build_id, d.state,
       CASE WHEN d.state IN ('running', 'draining') THEN d.heartbeat_at + d.lease > now() ELSE false END AS alive,
       d.started_at, d.heartbeat_at, d.lease, d.stopped_at, d.workers_desired, d.workers_configured, d.workers_active,
       d.desired_generation, d.applied_generation, d.settings_generation, d.settings, d.message,
       d.workers_reason, d.throttle
  FROM regfeat.daemon d ORDER BY d.daemon_id DESC;
COMMENT ON VIEW regfeat.daemons IS 'Every daemon process, newest first: what was asked of it (workers_desired), what it runs (workers_configured, settings), whether the two have met (applied_generation = desired_generation), and what holds it back (workers_reason, throttle).';
