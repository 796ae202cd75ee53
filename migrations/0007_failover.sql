-- When the writer has moved to another server: how that is seen, and what becomes of work that did not move with it.

CREATE TABLE regfeat.writer (
  writer_id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  identity     text NOT NULL,
  seen_at      timestamptz NOT NULL DEFAULT now(),
  verified_at  timestamptz
);
COMMENT ON TABLE  regfeat.writer IS 'The servers and timelines on which daemons have found this database, in order; the last is the present one.';
COMMENT ON COLUMN regfeat.writer.identity IS 'As regfeat.writer_identity() gave it.';
COMMENT ON COLUMN regfeat.writer.verified_at IS 'When what was finished shortly before had been held against its targets; NULL: not yet.';

-- Every part may be withheld (a managed server, a missing privilege): what is left still tells writers apart.
CREATE FUNCTION regfeat.writer_identity() RETURNS text
  LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  parts text[] := '{}';
  part text;
BEGIN
  BEGIN
    parts := parts || format('system %s', (SELECT system_identifier FROM pg_control_system()));
  EXCEPTION WHEN OTHERS THEN NULL;
  END;
  BEGIN  -- of the WAL that is written now; pg_control_checkpoint() tells the one of the last checkpoint
    parts := parts || format('timeline %s', ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::integer);
  EXCEPTION WHEN OTHERS THEN
    BEGIN
      parts := parts || format('timeline %s', (SELECT timeline_id FROM pg_control_checkpoint()));
    EXCEPTION WHEN OTHERS THEN NULL;
    END;
  END;
  IF to_regprocedure('aurora_db_instance_identifier()') IS NOT NULL THEN
    BEGIN
      EXECUTE 'SELECT aurora_db_instance_identifier()' INTO part;
      parts := parts || format('instance %s', part);
    EXCEPTION WHEN OTHERS THEN NULL;
    END;
  END IF;
  IF parts = '{}' THEN
    parts := parts || format('address %s', coalesce(inet_server_addr()::text, 'local'));
  END IF;
  RETURN array_to_string(parts, ', ');
END $$;
COMMENT ON FUNCTION regfeat.writer_identity IS 'What tells this server, as a writer, from those before and after it: system identifier and timeline, on Aurora the instance; the address where nothing else can be had.';

CREATE FUNCTION regfeat.note_writer() RETURNS TABLE (identity text, moved boolean, verified boolean)
  LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  present text := regfeat.writer_identity();
  last record;
BEGIN
  LOCK TABLE regfeat.writer IN SHARE ROW EXCLUSIVE MODE;
  SELECT w.identity, w.verified_at INTO last FROM regfeat.writer w ORDER BY w.writer_id DESC LIMIT 1;
  IF NOT FOUND THEN
    INSERT INTO regfeat.writer (identity, verified_at) VALUES (present, now());
    RETURN QUERY SELECT present, false, true;
  ELSIF last.identity <> present THEN
    INSERT INTO regfeat.writer (identity) VALUES (present);
    RETURN QUERY SELECT present, true, false;
  ELSE
    RETURN QUERY SELECT present, false, last.verified_at IS NOT NULL;
  END IF;
END $$;
COMMENT ON FUNCTION regfeat.note_writer IS 'Records the present writer when it is another one than the last; whether it is, and whether recent results have been verified since it moved.';

-- Epochs go above what another writer may have given out, so that none is used twice.
CREATE FUNCTION regfeat.recompute(wanted bigint, its_epoch bigint, least_epoch bigint, reason text) RETURNS boolean
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  was text;
BEGIN
  SELECT p.state INTO was FROM regfeat.partition p
   WHERE p.partition_id = wanted AND p.epoch = its_epoch AND p.state IN ('running', 'done', 'empty') FOR UPDATE;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  UPDATE regfeat.partition p
     SET state = 'pending', epoch = greatest(p.epoch, least_epoch) + 1, not_before = '-infinity',
         attempts = CASE was WHEN 'running' THEN greatest(p.attempts - 1, 0) ELSE 0 END,
         input_fingerprint = NULL, daemon_id = NULL, worker = NULL, backend_pid = NULL, changed_at = clock_timestamp(), message = reason
   WHERE p.partition_id = wanted;
  UPDATE regfeat.attempt a SET outcome = 'lost', finished_at = clock_timestamp(), message = reason
   WHERE a.partition_id = wanted AND a.outcome = 'running';
  RETURN true;
END $$;
COMMENT ON FUNCTION regfeat.recompute IS 'Puts a running or finished partition, if it still has that epoch, back into the queue, uncharged, to be computed whatever its inputs.';

CREATE FUNCTION regfeat.requeue_lost(acknowledged jsonb) RETURNS TABLE (partition_id bigint, epoch bigint)
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  a record;
BEGIN
  FOR a IN SELECT x.partition_id, max(x.epoch) AS epoch FROM jsonb_to_recordset(acknowledged) AS x(partition_id bigint, epoch bigint)
            GROUP BY x.partition_id ORDER BY x.partition_id
  LOOP
    RETURN QUERY
      SELECT p.partition_id, a.epoch FROM regfeat.partition p
       WHERE p.partition_id = a.partition_id
         AND ((p.epoch < a.epoch AND p.state IN ('done', 'empty')) OR (p.epoch = a.epoch AND p.state = 'running'))
         AND regfeat.recompute(p.partition_id, p.epoch, a.epoch, 'its commit was acknowledged by a writer whose last commits are lost');
    -- The claim is lost too: it is pending already.
    RETURN QUERY
      UPDATE regfeat.partition p SET epoch = a.epoch + 1 WHERE p.partition_id = a.partition_id AND p.epoch < a.epoch AND p.state = 'pending'
      RETURNING p.partition_id, a.epoch;
  END LOOP;
END $$;
COMMENT ON FUNCTION regfeat.requeue_lost IS 'Of commits that were acknowledged to a daemon ([{"partition_id": ..., "epoch": ...}, ...]), those that this server does not have: their partitions are put back into the queue and returned.';
