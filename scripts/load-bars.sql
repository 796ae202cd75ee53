-- The SQL of scripts/load-bars, which pipes checked bars into psql's standard input and sets the variables
-- schema, m1, bqx (table names), files (names of the input files, one per line), base and histdata_zone.
-- One transaction, after the schema exists: readers see the old bars or the new ones with their derived columns.
\set ON_ERROR_STOP on
\set SHOW_CONTEXT never
\pset format unaligned
\pset tuples_only on
\pset fieldsep '|'
SET client_min_messages = warning;
-- A table of the user's own may have `timestamp with time zone` where ours has none: both mean UTC.
SET timezone = 'UTC';
-- Compiling these statements takes longer than running them.
SET jit = off;

-- Two loads of different pairs must not wait for each other longer than this takes.
SELECT NOT EXISTS (SELECT FROM pg_namespace WHERE nspname = :'schema') AS schema_missing \gset
\if :schema_missing
BEGIN;
SELECT pg_advisory_xact_lock(hashtextextended('regfeatd load-bars', 0)) \g /dev/null
CREATE SCHEMA IF NOT EXISTS :"schema";
COMMIT;
\endif

BEGIN;
-- One load of a pair at a time.
SELECT pg_advisory_xact_lock(hashtextextended('regfeatd load-bars ' || :'schema' || '.' || :'m1', 0)) \g /dev/null

CREATE FUNCTION pg_temp.refuse(message text) RETURNS void LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION USING MESSAGE = message; END $$;

SELECT to_regclass(format('%I.%I', :'schema', :'m1')) IS NULL AS m1_missing,
       to_regclass(format('%I.%I', :'schema', :'bqx')) IS NULL AS bqx_missing \gset
\if :m1_missing
CREATE TABLE :"schema".:"m1" (
  time timestamp PRIMARY KEY,
  open numeric NOT NULL, high numeric NOT NULL, low numeric NOT NULL, close numeric NOT NULL,
  volume numeric,
  rate_index numeric);
COMMENT ON TABLE :"schema".:"m1" IS 'Minute bars; time is the start of the minute in UTC. Written by load-bars.';
COMMENT ON COLUMN :"schema".:"m1".rate_index IS '100 * close / close at the base instant';
\endif
\if :bqx_missing
CREATE TABLE :"schema".:"bqx" (
  ts_utc timestamptz PRIMARY KEY,
  w15_bqx_return double precision, w30_bqx_return double precision, w45_bqx_return double precision,
  w60_bqx_return double precision, w75_bqx_return double precision);
COMMENT ON TABLE :"schema".:"bqx" IS
  'wN_bqx_return = sum over i = 1..N of (rate_index N rows back by i - rate_index) / rate_index; over the rows that exist in the first N rows. Written by load-bars.';
\endif

-- -- input ---------------------------------------------------------------------------------------------------------
CREATE TEMPORARY TABLE stage (
  file int, line bigint, time timestamp, open numeric, high numeric, low numeric, close numeric, volume numeric,
  histdata boolean) ON COMMIT DROP;
\copy pg_temp.stage FROM pstdin
-- The last row says that the input was complete: without it, a pipe that broke would look like its end.
SELECT pg_temp.refuse('the input ended early') WHERE NOT EXISTS (SELECT FROM stage WHERE file = 0);
DELETE FROM stage WHERE file = 0;
ANALYZE stage;
CREATE TEMPORARY TABLE input ON COMMIT DROP AS
  SELECT f.name, f.file::int, :'histdata_zone'::text AS zone
  FROM unnest(string_to_array(:'files', E'\n')) WITH ORDINALITY AS f (name, file);

-- HistData's labels are New York wall-clock time in some archives and Eastern Standard Time all year in others. Both
-- agree in winter. During daylight saving the week opens on Sunday at 17:00 and closes on Friday at 16:59 on the
-- clock, which is 16:00 and 15:59 in standard time. Every Sunday and Friday of a file is a vote.
SELECT EXISTS (SELECT FROM stage WHERE histdata) AS has_histdata \gset
\if :has_histdata
WITH day AS (
  SELECT file, time::date AS day, extract(isodow FROM time) AS dow, min(time)::time AS first, max(time)::time AS last,
         max(time) AT TIME ZONE 'America/New_York' AT TIME ZONE 'UTC' - max(time) = interval '4 hours' AS dst
  FROM stage WHERE histdata GROUP BY 1, 2, 3
), vote AS (
  SELECT file, bool_or(dst) AS matters,
         count(*) FILTER (WHERE dst AND (dow = 7 AND first >= '17:00' AND first < '18:00' OR dow = 5 AND last >= '16:00' AND last < '17:00')) AS new_york,
         count(*) FILTER (WHERE dst AND (dow = 7 AND first >= '16:00' AND first < '17:00' OR dow = 5 AND last >= '15:00' AND last < '16:00')) AS est
  FROM day GROUP BY file
)
UPDATE input SET zone = CASE WHEN NOT matters THEN 'est' WHEN new_york > est THEN 'new_york' WHEN est > new_york THEN 'est' ELSE '?' END
FROM vote WHERE vote.file = input.file AND zone = 'auto';
SELECT pg_temp.refuse(format('%s: cannot tell from the bars whether their labels are New York wall-clock time or Eastern Standard Time all year; say --histdata-zone new_york or est', name))
FROM input WHERE zone = '?' ORDER BY file LIMIT 1;
UPDATE stage SET time = CASE zone WHEN 'est' THEN time + interval '5 hours'
                                  ELSE time AT TIME ZONE 'America/New_York' AT TIME ZONE 'UTC' END
FROM input WHERE stage.file = input.file AND histdata;
\endif

WITH twice AS (SELECT time FROM stage GROUP BY time HAVING count(*) > 1 ORDER BY time LIMIT 1), place AS (
  SELECT time, line, name, row_number() OVER (ORDER BY file, line) AS n FROM twice JOIN stage USING (time) JOIN input USING (file))
SELECT pg_temp.refuse(format('%s:%s: the minute %s UTC was given before, in %s:%s', b.name, b.line, to_char(b.time, 'YYYY-MM-DD HH24:MI'), a.name, a.line))
FROM place a JOIN place b ON a.n = 1 AND b.n = 2;

-- -- bars ----------------------------------------------------------------------------------------------------------
SELECT NOT EXISTS (SELECT FROM :"schema".:"m1") AS m1_empty, :'base' <> '' AS has_base \gset
SELECT count(*) AS replaced FROM stage JOIN :"schema".:"m1" USING (time) \gset

-- The base: the bar in force at the instant asked for, otherwise the pair's first bar. What is loaded now replaces
-- what was there.
\if :has_base
SELECT time AS base_time, close AS base_close FROM (SELECT) one LEFT JOIN (
  (SELECT time, close, 1 AS source FROM stage WHERE time <= (:'base'::timestamptz AT TIME ZONE 'UTC') ORDER BY time DESC LIMIT 1)
  UNION ALL
  (SELECT time, close, 2 FROM :"schema".:"m1" WHERE time <= (:'base'::timestamptz AT TIME ZONE 'UTC') ORDER BY time DESC LIMIT 1)) b ON true
ORDER BY time DESC, source LIMIT 1 \gset
\if :{?base_close}
\else
SELECT pg_temp.refuse(format('there is no bar at or before the base instant %s', :'base'));
\endif
\else
SELECT time AS base_time, close AS base_close FROM (
  (SELECT time, close, 1 AS source FROM stage ORDER BY time LIMIT 1)
  UNION ALL
  (SELECT time, close, 2 FROM :"schema".:"m1" ORDER BY time LIMIT 1)) b
ORDER BY time, source LIMIT 1 \gset
\endif

INSERT INTO :"schema".:"m1" AS t (time, open, high, low, close, volume, rate_index)
SELECT time, open, high, low, close, volume, 100 * close / :'base_close'::numeric FROM stage ORDER BY time
ON CONFLICT (time) DO UPDATE SET open = excluded.open, high = excluded.high, low = excluded.low, close = excluded.close,
  volume = excluded.volume, rate_index = excluded.rate_index
WHERE (t.open, t.high, t.low, t.close, t.volume, t.rate_index)
  IS DISTINCT FROM (excluded.open, excluded.high, excluded.low, excluded.close, excluded.volume, excluded.rate_index);

-- -- derived columns, over all bars of the pair; rows that stay as they were are not written again --------------------
\if :m1_empty
\else
SELECT pg_temp.refuse(format('%I.%I holds a bar whose close is NULL or 0, at %s', :'schema', :'m1', time))
FROM :"schema".:"m1" WHERE close IS NULL OR close = 0 LIMIT 1;
UPDATE :"schema".:"m1" SET rate_index = 100 * close / :'base_close'::numeric
WHERE rate_index IS DISTINCT FROM 100 * close / :'base_close'::numeric;
\endif

ANALYZE :"schema".:"m1";
-- (sum of index(t-i) - W index(t)) / index(t) is the same quotient over closes, since the index is proportional to
-- them. Sums of numeric are exact, so a window's sum is the difference of two running sums, which costs the same for
-- every W. A pair's first W rows have fewer than W rows before them: their sum is over those that exist, as a window
-- frame of SQL takes it (0 in the very first row), so that the column has no NULL.
INSERT INTO :"schema".:"bqx" AS t (ts_utc, w15_bqx_return, w30_bqx_return, w45_bqx_return, w60_bqx_return, w75_bqx_return)
SELECT time AT TIME ZONE 'UTC',
       ((before - coalesce(lag(before, 15) OVER bars, 0) - least(rows_before, 15) * close) / close)::float8,
       ((before - coalesce(lag(before, 30) OVER bars, 0) - least(rows_before, 30) * close) / close)::float8,
       ((before - coalesce(lag(before, 45) OVER bars, 0) - least(rows_before, 45) * close) / close)::float8,
       ((before - coalesce(lag(before, 60) OVER bars, 0) - least(rows_before, 60) * close) / close)::float8,
       ((before - coalesce(lag(before, 75) OVER bars, 0) - least(rows_before, 75) * close) / close)::float8
FROM (SELECT time, close, row_number() OVER (ORDER BY time) - 1 AS rows_before,
             sum(close) OVER (ORDER BY time ROWS UNBOUNDED PRECEDING) - close AS before FROM :"schema".:"m1") bar
WINDOW bars AS (ORDER BY time)
ON CONFLICT (ts_utc) DO UPDATE SET w15_bqx_return = excluded.w15_bqx_return, w30_bqx_return = excluded.w30_bqx_return,
  w45_bqx_return = excluded.w45_bqx_return, w60_bqx_return = excluded.w60_bqx_return, w75_bqx_return = excluded.w75_bqx_return
WHERE (t.w15_bqx_return, t.w30_bqx_return, t.w45_bqx_return, t.w60_bqx_return, t.w75_bqx_return)
  IS DISTINCT FROM (excluded.w15_bqx_return, excluded.w30_bqx_return, excluded.w45_bqx_return, excluded.w60_bqx_return, excluded.w75_bqx_return);

ANALYZE :"schema".:"bqx";
-- For the summary that load-bars prints.
SELECT count(*), :'replaced', to_char(min(time), 'YYYY-MM-DD HH24:MI'), to_char(max(time), 'YYYY-MM-DD HH24:MI'),
       to_char(:'base_time'::timestamp, 'YYYY-MM-DD HH24:MI'), :'base_close', (SELECT count(*) FROM :"schema".:"m1"),
       (SELECT string_agg(DISTINCT zone, ', ') FROM input WHERE zone <> 'auto' AND file IN (SELECT file FROM stage WHERE histdata))
FROM stage;
COMMIT;
