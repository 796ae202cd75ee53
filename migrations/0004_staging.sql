-- Tables that are loaded beside the partitions they are going to replace.

CREATE TABLE regfeat.staging (
  schema_name  text NOT NULL,
  table_name   text NOT NULL,
  table_oid    oid NOT NULL,
  partition_id bigint NOT NULL,
  epoch        bigint NOT NULL,
  created_at   timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (schema_name, table_name)
);
COMMENT ON TABLE  regfeat.staging IS 'Staging tables of `publish: swap`, from the commit of their load to their exchange: normally for milliseconds. Rows that stay were left by attempts that were killed in between; regfeat.drop_leftovers() removes them and their tables.';
COMMENT ON COLUMN regfeat.staging.table_oid IS 'A table of the same name with another oid is somebody else''s and not touched.';
COMMENT ON COLUMN regfeat.staging.epoch IS 'Of the attempt that loaded it; it is in use for as long as its partition is running with this epoch.';

CREATE FUNCTION regfeat.drop_leftovers() RETURNS bigint
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  s record;
  dropped bigint := 0;
BEGIN
  -- A row that is locked belongs to an exchange under way.
  FOR s IN SELECT * FROM regfeat.staging g
            WHERE NOT EXISTS (SELECT FROM regfeat.partition p
                               WHERE p.partition_id = g.partition_id AND p.epoch = g.epoch AND p.state = 'running')
              FOR UPDATE SKIP LOCKED
  LOOP
    CONTINUE WHEN EXISTS (SELECT FROM pg_class c WHERE c.oid = s.table_oid AND NOT pg_has_role(c.relowner, 'USAGE'));
    IF EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                WHERE c.oid = s.table_oid AND c.relname = s.table_name AND n.nspname = s.schema_name) THEN
      EXECUTE format('DROP TABLE %I.%I', s.schema_name, s.table_name);
      dropped := dropped + 1;
    END IF;
    DELETE FROM regfeat.staging g WHERE g.schema_name = s.schema_name AND g.table_name = s.table_name;
  END LOOP;
  RETURN dropped;
END $$;
COMMENT ON FUNCTION regfeat.drop_leftovers IS 'Drops staging tables that no running attempt owns, as far as the caller may; how many. Daemons call it; calling it is always safe.';
