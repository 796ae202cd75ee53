"""The daemon's HTTP: every path against what SQL says, limits and refusals, what becomes of it when the database goes away."""

import gzip
import http.client
import json
import os
import re
import socket
import subprocess
import sys
import time
import unittest
import urllib.error
import urllib.request

from world import World

BINARY, CLUSTER = os.environ["REGFEATD_BUILD_DIR"] + "/regfeatd", os.environ["REGFEATD_TEST_CLUSTER"]
PAIRS, DAYS = ["eurusd", "nzdusd"], 21


def get(url, **headers):
    """Status, headers and body."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=30) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def samples(text):
    """Name with labels, as /metrics writes them, to value."""
    return {m[1]: float(m[2]) for m in re.finditer(r"^(\S+?(?:\{.*?\})?) (\S+)$", text, re.M) if not m[0].startswith("#")}


class Http(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.world = cls.enterClassContext(World(BINARY, CLUSTER))
        cls.world.migrate()
        cls.world.make_sources(PAIRS, DAYS, 0.01)
        cls.world.apply("bars", PAIRS, DAYS)
        cls.url = cls.world.daemon(2)
        cls.until(lambda: cls.world.value("SELECT count(*) FROM regfeat.partition WHERE state IN ('pending', 'running')") == "0")
        # Attempts whose time of COMMIT is not known are counted after a moment.
        attempts = float(cls.world.value("SELECT count(*) FROM regfeat.attempt"))
        cls.until(lambda: sum(v for k, v in cls.metrics().items() if k.startswith("regfeatd_attempts_total")) == attempts)

    @staticmethod
    def until(condition):
        for _ in range(1200):
            if condition():
                return
            time.sleep(0.05)
        raise AssertionError("did not happen within a minute")

    @classmethod
    def metrics(cls):
        return samples(get(cls.url + "metrics")[2].decode())

    def test_healthy_and_ready(self):
        self.assertEqual(get(self.url + "healthz")[::2], (200, b"ok\n"))
        self.assertEqual(get(self.url + "readyz")[::2], (200, b"ok\n"))

    def test_status_is_what_sql_says(self):
        status, headers, body = get(self.url + "api/status")
        self.assertEqual((status, headers["Content-Type"]), (200, "application/json"))
        document = json.loads(body)
        (bars,) = document["feature_sets"]
        for name, number in self.world.sql("SELECT state, count(*) FROM regfeat.partition GROUP BY 1"):
            self.assertEqual(bars["partitions"][name], int(number), name)
        self.assertEqual(bars["partitions"]["total"], len(PAIRS) * DAYS)
        self.assertEqual(str(bars["rows"]["done"]), self.world.value("SELECT sum(rows_in) FROM regfeat.partition WHERE state IN ('done', 'empty')"))
        (heat_map,) = document["heat_maps"]
        self.assertEqual(heat_map["series"], PAIRS)
        self.assertEqual(len(heat_map["from"]), DAYS)
        self.assertEqual("".join(heat_map["states"]).count("F"), 1)
        self.assertIn("out of order", document["failures"][0]["message"])

    def test_status_is_the_shape_of_the_terminal(self):
        page, terminal = json.loads(get(self.url + "api/status")[2]), json.loads(self.world.regfeatd("status", "--json"))
        self.assertEqual(page.keys(), terminal.keys())
        self.assertEqual([m["states"] for m in page["heat_maps"]], [m["states"] for m in terminal["heat_maps"]])
        self.assertEqual([s["partitions"] for s in page["feature_sets"]], [s["partitions"] for s in terminal["feature_sets"]])

    def test_partitions_are_what_sql_says(self):
        document = json.loads(get(self.url + "api/partitions")[2])
        (bars,) = document["feature_sets"]
        shown = set()
        for values in bars["partitions"]:
            p = dict(zip(document["fields"], values))
            shown.add((bars["series"][p["series"]], bars["from"][p["range"]], bars["to"][p["range"]], p["state"], str(p["attempts"]),
                       "" if p["rows_out"] is None else str(p["rows_out"]), "" if p["nulls_out"] is None else str(p["nulls_out"])))
        expected = self.world.sql('SELECT series, "from", "to", state, attempts, rows_out, nulls_out FROM regfeat.partition_status')
        self.assertEqual(shown, {tuple(row) for row in expected})

    def test_history_is_what_sql_says(self):
        history = json.loads(get(self.url + "api/history")[2])["history"]
        self.assertGreater(len(history), 0)
        at = [point["at"] for point in history]
        self.assertEqual(at, sorted(at))
        stored = {row[0] for row in self.world.sql("SELECT rows_done FROM regfeat.progress")}
        self.assertLessEqual({str(point["rows_done"]) for point in history}, stored)

    def test_metrics_are_what_sql_says(self):
        metrics = self.metrics()
        for state, number in self.world.sql("SELECT state, count(*) FROM regfeat.partition GROUP BY 1"):
            self.assertEqual(metrics[f'regfeatd_partitions{{feature_set="bars",state="{state}"}}'], float(number))
        for outcome, number in self.world.sql("SELECT outcome, count(*) FROM regfeat.attempt GROUP BY 1"):
            self.assertEqual(metrics[f'regfeatd_attempts_total{{feature_set="bars",outcome="{outcome}"}}'], float(number))
        rows, bytes_out, attempts, fit_s = self.world.sql("SELECT sum(rows_in), sum(bytes_out), count(*), sum(fit_ms) / 1000 FROM regfeat.attempt "
                                                          "WHERE outcome IN ('done', 'empty', 'unchanged')")[0]
        self.assertEqual(metrics['regfeatd_source_rows_total{feature_set="bars"}'], float(rows))
        self.assertEqual(metrics['regfeatd_copy_bytes_total{feature_set="bars"}'], float(bytes_out))
        self.assertEqual(metrics['regfeatd_attempt_seconds_count{feature_set="bars"}'], float(attempts))
        self.assertEqual(metrics['regfeatd_attempt_seconds_bucket{feature_set="bars",le="+Inf"}'], float(attempts))
        self.assertAlmostEqual(metrics['regfeatd_phase_seconds_sum{feature_set="bars",phase="fit"}'], float(fit_s), 3)
        self.assertEqual(metrics["regfeatd_lease_held"], 1)
        self.assertEqual(metrics["regfeatd_workers_configured"], 2)
        self.assertTrue(any(name.startswith("regfeatd_build_info{build=") for name in metrics))

    def test_the_page_and_its_files(self):
        page = get(self.url)[2].decode()
        self.assertEqual(get(self.url)[1]["Content-Type"], "text/html; charset=utf-8")
        files = re.findall(r'(?:src|href)="(/[a-z]+\.[a-z]+)"', page)
        self.assertIn("/page.js", files)
        imported = re.findall(r"from '\.(/[a-z]+\.js)'", get(self.url + "page.js")[2].decode())
        for file in {*files, *imported}:
            self.assertEqual(get(self.url[:-1] + file)[0], 200, file)
        for text in [page] + [get(self.url[:-1] + f)[2].decode() for f in {*files, *imported}]:
            self.assertEqual(re.findall(r"(?:https?:)?//(?!www\.w3\.org/)[\w-]+\.[a-z]{2,}/", text), [], "nothing comes from elsewhere")
        self.assertNotRegex(page, r"<script(?![^>]*src=)|\sstyle=|\son\w+=", "nothing that the security policy would refuse")

    def test_what_is_not_there_and_what_is_not_allowed(self):
        self.assertEqual(get(self.url + "nothing")[0], 404)
        self.assertEqual(get(self.url + "../etc/passwd")[0], 404)
        host = self.url.split("/")[2]
        for method in ("POST", "PUT", "DELETE"):
            connection = http.client.HTTPConnection(host, timeout=30)
            connection.request(method, "/api/status", body="x")
            self.assertEqual(connection.getresponse().status, 405)
        self.assertEqual(get(self.url, Host="elsewhere.example")[0], 421)

    def test_compression_and_caching(self):
        _, headers, body = get(self.url + "api/partitions", **{"Accept-Encoding": "gzip"})
        self.assertEqual(headers["Content-Encoding"], "gzip")
        self.assertEqual(json.loads(gzip.decompress(body)).keys(), {"version", "fields", "feature_sets"})
        page = get(self.url + "page.js")
        self.assertEqual(get(self.url + "page.js", **{"If-None-Match": page[1]["ETag"]})[0], 304)

    def test_many_clients_make_one_reading(self):
        """Fifty clients at once are all answered, from few readings."""
        host, port = self.url.split("/")[2].split(":")
        clients = [socket.create_connection((host, int(port)), timeout=30) for _ in range(50)]
        for c in clients:
            c.sendall(b"GET /api/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answers = []
        for c in clients:
            with c, c.makefile("rb") as stream:
                answers.append(stream.read())
        self.assertEqual({a.split(b"\r\n")[0] for a in answers}, {b"HTTP/1.1 200 OK"})
        self.assertLessEqual(len({json.loads(a.split(b"\r\n\r\n", 1)[1])["at_seconds"] for a in answers}), 5)


class Refusals(unittest.TestCase):
    """No daemon gets up with these."""

    def run_with(self, text, status):
        with World(BINARY, CLUSTER) as world:
            world.migrate()
            file = os.path.join(world.folder, "c.yaml")
            with open(file, "w", encoding="utf-8") as out:
                out.write(text)
            out = subprocess.run([BINARY, "run", "--once", "--config", file, "--conninfo", world.conninfo], capture_output=True, text=True, timeout=60, check=False)
            self.assertEqual(out.returncode, status, out.stderr)
            return out.stderr

    def test_a_port_that_is_taken(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            said = self.run_with(f"http: {{ port: {port} }}\n", 78)
        self.assertIn(f"http: cannot listen on 127.0.0.1 port {port}: Address already in use", said)

    def test_an_address_that_others_reach(self):
        self.assertIn("can be reached from other machines", self.run_with("http: { address: 0.0.0.0, port: 0 }\n", 78))
        self.assertIn("neither encryption nor a login", self.run_with("http: { address: 0.0.0.0, port: 0, allow_remote: true }\n", 0))

    def test_off_unless_asked_for(self):
        self.assertNotIn("status page", self.run_with("workers: 1\n", 0))


class WithoutDatabase(unittest.TestCase):
    def test_it_says_so_and_comes_back(self):
        """The backends are kept out: /metrics and /healthz answer, /readyz turns with the lease, /api/status says 503."""
        with World(BINARY, CLUSTER) as world:
            world.migrate()
            url = world.daemon(1, "lease: 2s\nheartbeat: 500ms\n")
            self.assertEqual(get(url + "api/status")[0], 200)
            world.admin(f"ALTER DATABASE {world.database} ALLOW_CONNECTIONS false; SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{world.database}'")
            try:
                Http.until(lambda: get(url + "readyz")[0] == 503)
                self.assertIn(b"heartbeat", get(url + "readyz")[2])
                self.assertEqual(get(url + "healthz")[0], 200)
                self.assertEqual(samples(get(url + "metrics")[2].decode())["regfeatd_lease_held"], 0)
                self.assertEqual(get(url + "api/status")[0], 503)
            finally:
                world.admin(f"ALTER DATABASE {world.database} ALLOW_CONNECTIONS true")
            Http.until(lambda: get(url + "readyz")[0] == 200)
            self.assertEqual(get(url + "api/status")[0], 200)
            self.assertEqual(world.stop(), 0)


if __name__ == "__main__":
    if sys.version_info < (3, 11):
        print("skipped: needs Python 3.11")
        sys.exit(77)
    unittest.main(verbosity=2)
