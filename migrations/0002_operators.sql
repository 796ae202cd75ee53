-- Operating the work table from psql: functions for people, roles, privileges. docs/work-table.md defines what each
-- function does to running partitions.
--
-- The operator functions run with the rights of their owner, so that regfeat_operator needs no privilege on any table.
-- Each has a pinned search_path, names everything in full, and reads times without a zone as UTC.

-- ---------------------------------------------------------------------------------------------- helpers

CREATE FUNCTION regfeat.feature_set_named(wanted text) RETURNS regfeat.feature_set
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  f regfeat.feature_set;
BEGIN
  SELECT * INTO f FROM regfeat.feature_set x WHERE x.name = wanted;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'there is no feature set %', coalesce(quote_ident(wanted), 'NULL') USING ERRCODE = 'invalid_parameter_value',
      HINT = coalesce('There are: ' || (SELECT string_agg(x.name, ', ' ORDER BY x.name) FROM regfeat.feature_set x) || '.',
                      'There are none yet: register one with regfeatd apply.');
  END IF;
  RETURN f;
END $$;
COMMENT ON FUNCTION regfeat.feature_set_named IS 'A feature set by name, or an error that says which there are.';

CREATE FUNCTION regfeat.order_value(order_kind text, argument text, value text) RETURNS bigint
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD' AS $$
DECLARE
  t timestamptz;
BEGIN
  IF value IS NULL THEN RETURN NULL; END IF;
  IF order_kind = 'sequence' THEN RETURN value::bigint; END IF;
  t := value::timestamptz;
  IF t = 'infinity' THEN RETURN 9223372036854775807; END IF;
  IF t = '-infinity' THEN RETURN -9223372036854775808; END IF;
  RETURN (extract(epoch FROM t - timestamptz '2000-01-01 00:00:00+00') * 1000000)::bigint;
EXCEPTION WHEN data_exception THEN
  RAISE EXCEPTION 'argument "%": % is not %', argument, quote_literal(value),
    CASE order_kind WHEN 'sequence' THEN 'an integer, and this feature set is ordered by a sequence' ELSE 'a time' END
    USING ERRCODE = 'invalid_parameter_value',
          HINT = CASE order_kind WHEN 'sequence' THEN 'Give a sequence number.' ELSE 'Such as 2024-07-01 or 2024-07-01 13:00; without a zone it is UTC.' END;
END $$;
COMMENT ON FUNCTION regfeat.order_value IS 'The inverse of regfeat.order_text: a position as people write it. NULL: unbounded; infinity is behind everything, -infinity before it.';

-- Half-open like the partitions themselves: [lower, upper) is selected when lower < "to" and upper > "from". With
-- `widen`, also the partitions behind "to" whose first rows look back into the range.
CREATE FUNCTION regfeat.select_partitions(f regfeat.feature_set, series text, "from" text, "to" text, widen boolean DEFAULT false)
  RETURNS SETOF bigint
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  wanted text := series;
  low bigint := regfeat.order_value(f.order_kind, 'from', "from");
  high bigint := regfeat.order_value(f.order_kind, 'to', "to");
BEGIN
  IF low >= high THEN
    RAISE EXCEPTION 'the range is empty: "from" % is not before "to" %', "from", "to" USING ERRCODE = 'invalid_parameter_value',
      HINT = '"to" is the first position after the range.';
  END IF;
  IF wanted IS NOT NULL AND NOT EXISTS (SELECT FROM regfeat.partition p WHERE p.feature_set_id = f.feature_set_id AND p.series = wanted) THEN
    RAISE EXCEPTION 'feature set % has no partitions of a series %', f.name, quote_ident(wanted) USING ERRCODE = 'invalid_parameter_value',
      HINT = 'Series: ' || (SELECT string_agg(x.series, ', ' ORDER BY x.series)
        FROM (SELECT DISTINCT p.series FROM regfeat.partition p WHERE p.feature_set_id = f.feature_set_id ORDER BY 1 LIMIT 50) x) || '.';
  END IF;
  RETURN QUERY
    SELECT p.partition_id FROM regfeat.partition p
     WHERE p.feature_set_id = f.feature_set_id AND NOT p.removed AND (wanted IS NULL OR p.series = wanted)
       AND (low IS NULL OR p.upper_bound > low) AND (high IS NULL OR p.lower_bound < high);
  IF widen AND high IS NOT NULL AND (f.lookback_rows IS NULL OR f.lookback_rows > 0 OR f.lookback_span > 0) THEN
    RETURN QUERY
      SELECT b.partition_id FROM (
        -- rows between the range and this partition; unknown counts as none, which selects rather too much
        SELECT p.partition_id, p.lower_bound, coalesce(sum(p.rows_in) OVER (PARTITION BY p.series ORDER BY p.lower_bound
                 ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS rows_between
          FROM regfeat.partition p
         WHERE p.feature_set_id = f.feature_set_id AND NOT p.removed AND (wanted IS NULL OR p.series = wanted) AND p.lower_bound >= high) b
       WHERE f.lookback_rows IS NULL OR b.rows_between < f.lookback_rows OR b.lower_bound - high < f.lookback_span;
  END IF;
END $$;
COMMENT ON FUNCTION regfeat.select_partitions IS 'The partitions that a call of an operator function means.';

-- Locks in the order of their ids, so that two operators, or an operator and a daemon, cannot deadlock. Whoever runs one
-- of these partitions is fenced from here on, and its attempt says who did it.
CREATE FUNCTION regfeat.fence(ids bigint[], new_state text, message text) RETURNS SETOF bigint
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  said text := message;
BEGIN
  PERFORM FROM regfeat.partition p WHERE p.partition_id = ANY (ids) ORDER BY p.partition_id FOR UPDATE;
  UPDATE regfeat.attempt a SET outcome = 'fenced', finished_at = clock_timestamp(), message = said
    FROM regfeat.partition p
   WHERE p.partition_id = ANY (ids) AND p.state = 'running' AND a.attempt_id = p.attempt_id AND a.outcome = 'running';
  RETURN QUERY
    UPDATE regfeat.partition p
       SET state = new_state, epoch = p.epoch + 1, attempts = 0, disturbances = 0, not_before = '-infinity',
           daemon_id = NULL, worker = NULL, backend_pid = NULL, changed_at = clock_timestamp(), message = said
     WHERE p.partition_id = ANY (ids)
       AND (new_state <> 'cancelled' OR p.state IN ('pending', 'running', 'failed'))
    RETURNING p.partition_id;
  PERFORM pg_notify('regfeat_work', '');
END $$;
COMMENT ON FUNCTION regfeat.fence IS 'Raises the epoch of partitions and sets their state: what requeue and cancel have in common.';

CREATE FUNCTION regfeat.statement_of(what text, reason text) RETURNS text
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
  AS $$ SELECT what || ' by ' || session_user || coalesce(': ' || reason, '') $$;
COMMENT ON FUNCTION regfeat.statement_of IS 'Who did what, and why, for regfeat.partition.message.';

-- ---------------------------------------------------------------------------------------------- operator functions

CREATE FUNCTION regfeat.requeue(feature_set text, series text DEFAULT NULL, "from" text DEFAULT NULL, "to" text DEFAULT NULL,
                                reason text DEFAULT NULL, widen boolean DEFAULT false, force boolean DEFAULT false)
  RETURNS SETOF regfeat.partition_status
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  f regfeat.feature_set := regfeat.feature_set_named(feature_set);
  ids bigint[] := ARRAY(SELECT regfeat.select_partitions(f, series, "from", "to", widen));
BEGIN
  ids := ARRAY(SELECT regfeat.fence(ids, 'pending', regfeat.statement_of('requeued', reason)));
  IF force THEN
    UPDATE regfeat.partition p SET input_fingerprint = NULL WHERE p.partition_id = ANY (ids);
  END IF;
  RETURN QUERY SELECT s.* FROM regfeat.partition_status s WHERE s.partition_id = ANY (ids) ORDER BY s.series, s.partition_id;
END $$;
COMMENT ON FUNCTION regfeat.requeue IS 'Computes partitions anew, whatever their state: those that overlap ["from", "to"). A running one is fenced: its attempt cannot commit. widen: also those behind the range that look back into it. force: written again even where nothing changed.';

CREATE FUNCTION regfeat.requeue_failed(feature_set text, reason text DEFAULT NULL) RETURNS SETOF regfeat.partition_status
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  f regfeat.feature_set := regfeat.feature_set_named(feature_set);
  ids bigint[] := ARRAY(SELECT p.partition_id FROM regfeat.partition p
                         WHERE p.feature_set_id = f.feature_set_id AND p.state = 'failed' ORDER BY p.partition_id FOR UPDATE);
BEGIN
  ids := ARRAY(SELECT regfeat.fence(ids, 'pending', regfeat.statement_of('requeued after failure', reason)));
  RETURN QUERY SELECT s.* FROM regfeat.partition_status s WHERE s.partition_id = ANY (ids) ORDER BY s.series, s.partition_id;
END $$;
COMMENT ON FUNCTION regfeat.requeue_failed IS 'Gives every failed partition of a feature set a new set of attempts.';

CREATE FUNCTION regfeat.cancel(feature_set text, series text DEFAULT NULL, "from" text DEFAULT NULL, "to" text DEFAULT NULL,
                               reason text DEFAULT NULL) RETURNS SETOF regfeat.partition_status
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  f regfeat.feature_set := regfeat.feature_set_named(feature_set);
  ids bigint[] := ARRAY(SELECT regfeat.select_partitions(f, series, "from", "to"));
BEGIN
  ids := ARRAY(SELECT regfeat.fence(ids, 'cancelled', regfeat.statement_of('cancelled', reason)));
  RETURN QUERY SELECT s.* FROM regfeat.partition_status s WHERE s.partition_id = ANY (ids) ORDER BY s.series, s.partition_id;
END $$;
COMMENT ON FUNCTION regfeat.cancel IS 'Takes pending, running and failed partitions out of the queue; done ones stay done. A running one is fenced. requeue brings them back.';

CREATE FUNCTION regfeat.pause(feature_set text, reason text DEFAULT NULL) RETURNS SETOF regfeat.status
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  f regfeat.feature_set := regfeat.feature_set_named(feature_set);
BEGIN
  UPDATE regfeat.feature_set x SET paused_at = coalesce(x.paused_at, clock_timestamp()), paused_reason = regfeat.statement_of('paused', reason)
   WHERE x.feature_set_id = f.feature_set_id;
  RETURN QUERY SELECT s.* FROM regfeat.status s WHERE s.feature_set = f.name;
END $$;
COMMENT ON FUNCTION regfeat.pause IS 'Nothing of the feature set is claimed until resume, also across restarts. What runs finishes.';

CREATE FUNCTION regfeat.resume(feature_set text) RETURNS SETOF regfeat.status
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  f regfeat.feature_set := regfeat.feature_set_named(feature_set);
BEGIN
  UPDATE regfeat.feature_set x
     SET paused_at = NULL, paused_reason = NULL, breaker_faults = 0, breaker_partitions = '{}', breaker_probe = NULL,
         breaker_until = NULL, breaker_reason = NULL
   WHERE x.feature_set_id = f.feature_set_id;
  PERFORM pg_notify('regfeat_work', '');
  RETURN QUERY SELECT s.* FROM regfeat.status s WHERE s.feature_set = f.name;
END $$;
COMMENT ON FUNCTION regfeat.resume IS 'Ends a pause and closes the breaker.';

CREATE FUNCTION regfeat.set_priority(feature_set text, priority integer, series text DEFAULT NULL, "from" text DEFAULT NULL, "to" text DEFAULT NULL)
  RETURNS SETOF regfeat.partition_status
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  f regfeat.feature_set := regfeat.feature_set_named(feature_set);
  ids bigint[] := ARRAY(SELECT regfeat.select_partitions(f, series, "from", "to"));
  wanted integer := priority;
BEGIN
  IF wanted IS NULL THEN
    RAISE EXCEPTION 'argument "priority" is NULL' USING ERRCODE = 'invalid_parameter_value', HINT = 'Give an integer; higher goes first, 0 is normal.';
  END IF;
  ids := ARRAY(SELECT p.partition_id FROM regfeat.partition p
                WHERE p.partition_id = ANY (ids) AND p.state NOT IN ('done', 'empty') ORDER BY p.partition_id FOR UPDATE);
  UPDATE regfeat.partition p SET priority = wanted WHERE p.partition_id = ANY (ids) AND p.priority <> wanted;
  PERFORM pg_notify('regfeat_work', '');
  RETURN QUERY SELECT s.* FROM regfeat.partition_status s WHERE s.partition_id = ANY (ids) ORDER BY s.series, s.partition_id;
END $$;
COMMENT ON FUNCTION regfeat.set_priority IS 'Higher goes first, across feature sets. Of partitions that are not done; running ones go on.';

CREATE FUNCTION regfeat.set_workers(daemon text, workers integer) RETURNS SETOF regfeat.daemons
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  wanted text := daemon;
  n integer := workers;
  ids bigint[];
BEGIN
  IF n NOT BETWEEN 0 AND 1024 THEN
    RAISE EXCEPTION 'argument "workers": % is not between 0 and 1024', n USING ERRCODE = 'invalid_parameter_value',
      HINT = 'NULL: as many as its configuration says.';
  END IF;
  WITH changed AS (
    UPDATE regfeat.daemon d SET workers_desired = n, desired_generation = d.desired_generation + 1
     WHERE (d.name = wanted OR d.daemon_id::text = wanted) AND d.state = 'running' RETURNING d.daemon_id)
  SELECT array_agg(c.daemon_id) INTO ids FROM changed c;
  IF ids IS NULL THEN
    RAISE EXCEPTION 'no daemon % is running', coalesce(quote_ident(wanted), 'NULL') USING ERRCODE = 'invalid_parameter_value',
      HINT = coalesce('Running: ' || (SELECT string_agg(d.name || ' (' || d.daemon_id || ')', ', ' ORDER BY d.daemon_id)
                                        FROM regfeat.daemon d WHERE d.state = 'running') || '.', 'None is running.');
  END IF;
  PERFORM pg_notify('regfeat_work', '');
  RETURN QUERY SELECT d.* FROM regfeat.daemons d WHERE d.daemon_id = ANY (ids);
END $$;
COMMENT ON FUNCTION regfeat.set_workers IS 'Asks the running daemons of a name (or one, by id) for another number of workers; NULL: what the configuration says. Acknowledged when applied_generation = desired_generation in regfeat.daemons. Surplus workers finish their partition first.';

-- ---------------------------------------------------------------------------------------------- history

-- Walks the attempts in the order of their ids from `after`, at most `batch` of them, and deletes what finished before
-- `before` and is not the latest attempt of its partition. `next_after`: where to go on; NULL: the end was reached.
CREATE FUNCTION regfeat.prune_attempts(before timestamptz, after bigint, batch integer) RETURNS TABLE (deleted bigint, next_after bigint)
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  seen bigint;
BEGIN
  WITH looked AS MATERIALIZED (
    SELECT a.attempt_id, a.partition_id, a.finished_at FROM regfeat.attempt a
     WHERE a.attempt_id > after ORDER BY a.attempt_id LIMIT batch
  ), gone AS (
    DELETE FROM regfeat.attempt a USING looked l
     WHERE a.attempt_id = l.attempt_id AND l.finished_at < before
       AND NOT EXISTS (SELECT FROM regfeat.partition p WHERE p.partition_id = l.partition_id AND p.attempt_id = l.attempt_id)
    RETURNING a.attempt_id
  )
  SELECT count(*), max(l.attempt_id), (SELECT count(*) FROM gone) INTO seen, next_after, deleted FROM looked l;
  -- Ids grow with time: what comes behind a young one is younger.
  IF seen < batch OR EXISTS (SELECT FROM regfeat.attempt a WHERE a.attempt_id = next_after AND a.started_at >= before) THEN
    next_after := NULL;
  END IF;
  RETURN NEXT;
END $$;
COMMENT ON FUNCTION regfeat.prune_attempts IS 'Deletes a batch of old history; the latest attempt of each partition stays for ever.';

CREATE FUNCTION regfeat.prune_progress(before timestamptz, batch integer) RETURNS bigint
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  n bigint;
  more bigint;
BEGIN
  DELETE FROM regfeat.progress p WHERE p.ctid = ANY (ARRAY(
    SELECT g.ctid FROM regfeat.feature_set f CROSS JOIN LATERAL
      (SELECT x.ctid FROM regfeat.progress x WHERE x.feature_set_id = f.feature_set_id AND x.at < before ORDER BY x.at LIMIT batch) g LIMIT batch));
  GET DIAGNOSTICS n = ROW_COUNT;
  DELETE FROM regfeat.daemon_progress p WHERE p.ctid = ANY (ARRAY(
    SELECT x.ctid FROM regfeat.daemon_progress x WHERE x.at < before ORDER BY x.at LIMIT batch));
  GET DIAGNOSTICS more = ROW_COUNT;
  RETURN n + more;
END $$;
COMMENT ON FUNCTION regfeat.prune_progress IS 'Deletes a batch of old progress rows.';

CREATE FUNCTION regfeat.prune_daemons(before timestamptz, batch integer) RETURNS bigint
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  n bigint;
BEGIN
  DELETE FROM regfeat.daemon d WHERE d.daemon_id = ANY (ARRAY(
    SELECT x.daemon_id FROM regfeat.daemon x
     WHERE x.state IN ('stopped', 'lost') AND x.stopped_at < before
       AND NOT EXISTS (SELECT FROM regfeat.partition p WHERE p.state = 'running' AND p.daemon_id = x.daemon_id)
     ORDER BY x.daemon_id LIMIT batch FOR UPDATE SKIP LOCKED));
  GET DIAGNOSTICS n = ROW_COUNT;
  RETURN n;
END $$;
COMMENT ON FUNCTION regfeat.prune_daemons IS 'Deletes a batch of daemons that ended long ago. Attempts keep their numbers.';

-- ---------------------------------------------------------------------------------------------- roles

-- Roles belong to the whole cluster: they may exist already, another database may be creating them at this moment, or the
-- migrating role may not create any. Then whoever may creates them, and calls regfeat.grant_privileges().
DO $$
DECLARE
  r record;
BEGIN
  FOR r IN SELECT * FROM (VALUES ('regfeat_reader', 'May look at everything in schema regfeat.'),
                                 ('regfeat_operator', 'May look, and call the operator functions of schema regfeat.'),
                                 ('regfeat_daemon', 'What regfeatd run and apply need in schema regfeat.')) AS x(name, what)
  LOOP
    BEGIN
      IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = r.name) THEN
        EXECUTE format('CREATE ROLE %I NOLOGIN', r.name);
        EXECUTE format('COMMENT ON ROLE %I IS %L', r.name, r.what);
      END IF;
    EXCEPTION
      WHEN duplicate_object OR unique_violation THEN NULL;
      WHEN insufficient_privilege THEN
        RAISE NOTICE 'role % is not there and % may not create it: have it created, then SELECT regfeat.grant_privileges()', r.name, current_user;
    END;
  END LOOP;
END $$;

-- Called by `regfeatd migrate` at its end, so that what a later migration adds is covered too.
CREATE FUNCTION regfeat.grant_privileges() RETURNS TABLE (role text, granted boolean)
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  routine record;
  operator_functions text[] := ARRAY['requeue', 'requeue_failed', 'cancel', 'pause', 'resume', 'set_priority', 'set_workers'];
  reader_functions text[] := ARRAY['order_text', 'order_time', 'requeue_preview', 'blocked_by', 'waits_for', 'eta_by_workers'];
BEGIN
  REVOKE ALL ON ALL ROUTINES IN SCHEMA regfeat FROM PUBLIC;
  FOREACH role IN ARRAY ARRAY['regfeat_reader', 'regfeat_operator', 'regfeat_daemon'] LOOP
    granted := EXISTS (SELECT FROM pg_roles WHERE rolname = role);
    IF granted THEN
      EXECUTE format('GRANT USAGE ON SCHEMA regfeat TO %I', role);
      EXECUTE format('GRANT SELECT ON ALL TABLES IN SCHEMA regfeat TO %I', role);
      FOR routine IN SELECT p.oid::regprocedure AS name, p.proname::text AS plain FROM pg_proc p
                      WHERE p.pronamespace = 'regfeat'::regnamespace AND p.proname <> 'grant_privileges' LOOP
        IF routine.plain = ANY (reader_functions)
           OR (role = 'regfeat_operator' AND routine.plain = ANY (operator_functions))
           OR (role = 'regfeat_daemon' AND NOT routine.plain = ANY (operator_functions)) THEN
          EXECUTE format('GRANT EXECUTE ON ROUTINE %s TO %I', routine.name, role);
        END IF;
      END LOOP;
    END IF;
    RETURN NEXT;
  END LOOP;
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'regfeat_daemon') THEN
    -- feature_set, specification, partition and target: for apply and remove, which are best run by the daemon's role, as it
    -- makes the targets.
    FOR routine IN SELECT c.relname AS name FROM pg_class c
                    WHERE c.relnamespace = 'regfeat'::regnamespace AND c.relkind = 'r' AND c.relname <> 'migration' LOOP
      EXECUTE format('GRANT INSERT, UPDATE, DELETE ON regfeat.%I TO regfeat_daemon', routine.name);
    END LOOP;
  END IF;
END $$;
COMMENT ON FUNCTION regfeat.grant_privileges IS 'Gives the three roles what they need in this schema, as far as they exist. May be called again at any time by the owner.';
