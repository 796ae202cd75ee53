"""A database with a job whose page is worth looking at: series by days, weekends without rows, one partition that fails, a few
that are slow, and a daemon with its page on a free port."""

import os
import re
import signal
import subprocess
import tempfile
import time

PROJECT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))

SERIES = ["audusd", "eurgbp", "eurjpy", "eurusd", "gbpusd", "nzdusd", "usdcad", "usdjpy"]

SPECIFICATION = """feature_set: {name}
series: [{series}]
partition: {{ by: day, from: 2024-07-01, to: {to} }}
source:
  join: time
  tables:
    - {{ table: "bqx.m1_{{series}}", time: time }}
    - {{ table: "bqx.bqx_{{series}}", time: ts_utc }}
inputs:
  idx: {{ column: rate_index }}
  bqx: {{ column: w15_bqx_return }}
windows: {{ w15: 15, w30: 30, w60: 60, agg: 90 }}
metrics: {metrics}
targets:
  - {{ input: idx, table: "bqx.{prefix}_rate_{{series}}", time: ts_utc, column: "{{metric}}_idx_{{window}}", partition: "{{table}}_{{start:%Y_%m_%d}}" }}
  - {{ input: bqx, table: "bqx.{prefix}_bqx_{{series}}", time: ts_utc, column: "{{metric}}_bqx_{{window}}", partition: "{{table}}_{{start:%Y_%m_%d}}" }}
"""

# A view stands before the second source table. (Its function is STABLE, or PostgreSQL would call it for every row, wanted or not.) It fails for one day of one series, dawdles over some others, and takes
# its time over every day, so that a run lasts as long as one wants to look at it.
SOURCE = """
CREATE TABLE bqx.m1_{pair} (time timestamp PRIMARY KEY, rate_index double precision);
INSERT INTO bqx.m1_{pair}
  SELECT t, 100 + 3 * sin(i / 700.0 + {phase}) + (i * 7919 % 997) / 5000.0
    FROM (SELECT timestamp '2024-07-01' + i * interval '1 minute' AS t, i FROM generate_series(0, {days} * 1440 - 1) i) m
   WHERE extract(isodow FROM t) < 6 AND i % 97 <> 13;
CREATE TABLE bqx.raw_{pair} (ts_utc timestamptz PRIMARY KEY, w15_bqx_return double precision);
INSERT INTO bqx.raw_{pair} SELECT time AT TIME ZONE 'UTC', sin(extract(epoch FROM time) / 5000) FROM bqx.m1_{pair};
CREATE VIEW bqx.bqx_{pair} AS SELECT ts_utc, w15_bqx_return + bqx.delay('{pair}', ts_utc) AS w15_bqx_return FROM bqx.raw_{pair};
ANALYZE bqx.m1_{pair}, bqx.raw_{pair};
"""

DELAY = """
CREATE SCHEMA IF NOT EXISTS bqx;
CREATE FUNCTION bqx.delay(pair text, at timestamptz) RETURNS double precision LANGUAGE plpgsql STABLE AS $$
BEGIN
  IF extract(epoch FROM at)::bigint %% 86400 = 43200 THEN  -- noon: once a day
    IF pair = 'nzdusd' AND at::date = DATE '2024-07-18' THEN
      RAISE EXCEPTION 'quotes of %% are out of order', at USING ERRCODE = 'data_exception';
    END IF;
    PERFORM pg_sleep(CASE WHEN (pair, at::date) IN (('eurjpy', DATE '2024-07-09'), ('eurusd', DATE '2024-07-09'), ('gbpusd', DATE '2024-07-23'))
                     THEN greatest(12 * %(pause)s, %(dawdle)s) ELSE %(pause)s * (0.7 + random() * 0.6) END);
  END IF;
  RETURN 0;
END $$;
"""


class World:
    _made = 0

    def __init__(self, binary, cluster=None):
        """Without a cluster (a folder of scripts/pg) one of its own is started and destroyed."""
        self.binary, self._own_cluster = binary, cluster is None
        self.folder = tempfile.mkdtemp(prefix="regfeatd-world-")
        self._cluster = cluster or os.path.join(self.folder, "cluster")
        self._daemons = []
        World._made += 1
        self.database = f"page_{os.getpid()}_{World._made}"

    def __enter__(self):
        if self._own_cluster:
            self._pg("start")
        self._admin = self._pg("conninfo").strip()
        self.conninfo = f"{self._admin} dbname={self.database}"
        self.admin(f"CREATE DATABASE {self.database}")
        return self

    def __exit__(self, *_):
        for daemon in self._daemons:
            if daemon.poll() is None:
                daemon.kill()
            daemon.wait()
        if self._own_cluster:
            self._pg("destroy")
        else:
            self.admin(f"DROP DATABASE {self.database} WITH (FORCE)")
        subprocess.run(["rm", "-rf", self.folder], check=True)

    def _pg(self, *arguments):
        return subprocess.run([f"{PROJECT}/scripts/pg", "--dir", self._cluster, *arguments], check=True, capture_output=True, text=True).stdout

    def admin(self, statement):
        """The same from outside of the database."""
        return self.sql(statement, self._admin)

    def sql(self, statement, conninfo=None):
        """Rows of text."""
        out = subprocess.run(["psql", "-XqAt", "-F", "\x1f", "-v", "ON_ERROR_STOP=1", "-d", conninfo or self.conninfo], input=statement, capture_output=True, text=True,
                             check=False)
        if out.returncode != 0:
            raise RuntimeError(out.stderr)
        return [line.split("\x1f") for line in out.stdout.splitlines()]

    def value(self, statement):
        return self.sql(statement)[0][0]

    def regfeatd(self, *arguments):
        out = subprocess.run([self.binary, *arguments, "--conninfo", self.conninfo], capture_output=True, text=True, check=False)
        if out.returncode != 0:
            raise RuntimeError(out.stdout + out.stderr)
        return out.stdout

    def migrate(self):
        self.regfeatd("migrate")

    def make_sources(self, series, days, pause_s, dawdle_s=2):
        """dawdle_s: what a slow partition takes at least, enough to be slow also where the machine is."""
        self.sql(DELAY % {"pause": pause_s, "dawdle": dawdle_s} + "".join(SOURCE.format(pair=p, days=days, phase=i) for i, p in enumerate(series)))

    def apply(self, name, series, days, metrics="coefficients"):
        file = os.path.join(self.folder, name + ".yaml")
        to = self.value(f"SELECT DATE '2024-07-01' + {days}")
        with open(file, "w", encoding="utf-8") as out:
            out.write(SPECIFICATION.format(name=name, prefix=name, series=", ".join(series), to=to, metrics=metrics))
        self.regfeatd("apply", file)

    def daemon(self, workers, more=""):
        """Starts a daemon; returns the address of its page."""
        file = os.path.join(self.folder, f"daemon{len(self._daemons)}.yaml")
        with open(file, "w", encoding="utf-8") as out:
            out.write(f"workers: {workers}\nprogress: 500ms\nretry: {{ attempts: 2, base: 200ms, cap: 1s }}\nhttp: {{ port: 0 }}\n{more}")
        with open(file + ".log", "w", encoding="utf-8") as log:
            self._daemons.append(subprocess.Popen([self.binary, "run", "--config", file, "--conninfo", self.conninfo], stdout=log, stderr=log))
        for _ in range(300):
            with open(log.name, encoding="utf-8") as text:
                found = re.search(r"url=(http://\S+)", text.read())
            if found:
                return found[1].strip('"')
            if self._daemons[-1].poll() is not None:
                break
            time.sleep(0.05)
        raise RuntimeError(open(log.name, encoding="utf-8").read())

    def stop(self):
        """Ends the daemon that was started last, in order."""
        daemon = self._daemons.pop()
        daemon.send_signal(signal.SIGTERM)
        return daemon.wait(timeout=60)
