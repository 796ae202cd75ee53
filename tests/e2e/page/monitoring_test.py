"""Metrics, dashboards and alerts against reality: names of metrics and their labels, PromQL, SQL as the role regfeat_reader runs it."""

import glob
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.request

from world import PROJECT, World

BINARY, CLUSTER = os.environ["REGFEATD_BUILD_DIR"] + "/regfeatd", os.environ["REGFEATD_TEST_CLUSTER"]
CONFIG = PROJECT + "/config"
PROMTOOL = shutil.which("promtool")
needs_promtool = unittest.skipUnless(PROMTOOL, "there is no promtool (Debian package prometheus)")


def dashboard(name):
    with open(f"{CONFIG}/grafana/{name}.json", encoding="utf-8") as file:
        return json.load(file)


def targets(name):
    return [(p["title"], t) for p in dashboard(name)["panels"] for t in p["targets"]]


def alert_expressions():
    with open(CONFIG + "/prometheus/alerts.yaml", encoding="utf-8") as file:
        return re.findall(r"^\s+expr: (.+)$", file.read(), re.M)


def promtool(*arguments, **more):
    out = subprocess.run([PROMTOOL, *arguments], capture_output=True, text=True, check=False, **more)
    return out.returncode, out.stdout + out.stderr


class Monitoring(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.world = cls.enterClassContext(World(BINARY, CLUSTER))
        cls.world.migrate()
        pairs = ["eurusd", "gbpusd", "nzdusd", "usdjpy"]
        cls.world.make_sources(pairs, 21, 0.15)
        cls.world.apply("bars", pairs, 21)
        url = cls.world.daemon(2)
        # In the middle of a run, when everything has a value; and once a partition has failed.
        cls.text = ""
        for _ in range(600):
            with urllib.request.urlopen(url + "metrics", timeout=30) as answer:
                cls.text = answer.read().decode()
            if all(x in cls.text for x in ('bound="median"', 'bound="high"', "regfeatd_phase_seconds_bucket", "regfeatd_rows_per_second{", 'outcome="failed"')):
                break
            time.sleep(0.1)
        cls.samples = {}
        for name, labels in re.findall(r"^([a-z_]+)(?:\{(.*)\})? \S+$", cls.text, re.M):
            cls.samples.setdefault(name, []).append(dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', labels)))

    @needs_promtool
    def test_metrics_pass_promtool(self):
        self.assertEqual(promtool("check", "metrics", input=self.text), (0, ""))

    def test_every_metric_is_documented_and_no_other(self):
        with open(PROJECT + "/docs/http.md", encoding="utf-8") as file:
            documented = set(re.findall(r"^\| `((?:regfeatd|process)_[a-z_]+)`", file.read(), re.M))
        self.assertEqual(documented, set(re.findall(r"^# TYPE (\S+)", self.text, re.M)))

    def test_dashboards_and_alerts_name_what_there_is(self):
        expressions = [t["expr"] for _, t in targets("metrics")] + alert_expressions()
        self.assertGreater(len(expressions), 15)
        for expression in expressions:
            for name, labels in re.findall(r"\b(regfeatd_[a-z_]+)(?:\{([^}]*)\})?", expression):
                self.assertIn(name, self.samples, expression)
                wanted = {k: v for k, v in re.findall(r'(\w+)="([^"]*)"', labels) if not v.startswith("$")}
                known = [s for s in self.samples[name] if wanted.items() <= s.items() and set(re.findall(r'(\w+)="', labels)) <= s.keys()]
                self.assertTrue(known, f"no sample of {name} has {labels}")
            for by in re.findall(r"\bby \(([^)]*)\)", expression):
                name = re.search(r"regfeatd_[a-z_]+", expression)[0]
                for label in re.split(r",\s*", by):
                    self.assertTrue(label == "instance" or label in self.samples[name][0] or label == "le", f"{name} has no label {label}")

    @needs_promtool
    def test_dashboards_are_promql(self):
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            rules = [{"record": f"panel:{i}", "expr": t["expr"].replace("$__rate_interval", "5m")} for i, (_, t) in enumerate(targets("metrics"))]
            json.dump({"groups": [{"name": "dashboard", "rules": rules}]}, file)  # JSON is YAML
            file.flush()
            status, said = promtool("check", "rules", file.name)
        self.assertEqual(status, 0, said)
        self.assertIn(f"SUCCESS: {len(rules)} rules found", said)

    @needs_promtool
    def test_alerts_are_rules_and_fire_when_they_should(self):
        status, said = promtool("check", "rules", CONFIG + "/prometheus/alerts.yaml")
        self.assertEqual(status, 0, said)
        status, said = promtool("test", "rules", os.path.join(os.path.dirname(os.path.abspath(__file__)), "alerts_test.yaml"))
        self.assertEqual(status, 0, said)
        status, said = promtool("check", "config", "--syntax-only", CONFIG + "/prometheus/scrape.yaml")
        self.assertEqual(status, 0, said)

    def test_sql_of_the_dashboard_runs_with_the_rights_of_a_reader(self):
        all_targets = targets("database")
        queries = [(title, t["rawSql"]) for title, t in all_targets] + [("feature_set", dashboard("database")["templating"]["list"][1]["query"])]
        for title, query in queries:
            sql = re.sub(r"\$__timeFilter\((.*?)\)", r"\1 BETWEEN now() - interval '1 day' AND now()", query).replace("$feature_set", "bars")
            self.assertNotIn("$", sql, title)
            rows = self.world.sql("SET ROLE regfeat_reader; " + sql)
            if title not in ("Slow partitions", "Running partitions"):  # these may have none at the moment
                self.assertTrue(rows, title)

    def test_panels_do_not_overlap(self):
        for file in glob.glob(CONFIG + "/grafana/*.json"):
            panels = dashboard(os.path.basename(file)[:-5])["panels"]
            self.assertEqual(len({p["id"] for p in panels}), len(panels))
            taken = set()
            for p in panels:
                g = p["gridPos"]
                self.assertLessEqual(g["x"] + g["w"], 24)
                cells = {(x, y) for x in range(g["x"], g["x"] + g["w"]) for y in range(g["y"], g["y"] + g["h"])}
                self.assertFalse(cells & taken, p["title"])
                taken |= cells


if __name__ == "__main__":
    if sys.version_info < (3, 11):
        print("skipped: it needs Python 3.11")
        sys.exit(77)
    unittest.main(verbosity=2)
