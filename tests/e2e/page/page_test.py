"""The status page in a headless Chromium: what it shows is held against SQL; pointer, clicks and keys do what they say."""

import json
import os
import re
import sys
import time
import unittest
import urllib.request

from webdriver import Browser, missing
from world import World

BINARY, CLUSTER = os.environ["REGFEATD_BUILD_DIR"] + "/regfeatd", os.environ["REGFEATD_TEST_CLUSTER"]
PAIRS, DAYS = ["eurusd", "gbpusd", "nzdusd"], 21


class Page(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.world = cls.enterClassContext(World(BINARY, CLUSTER))
        cls.world.migrate()
        cls.world.make_sources(PAIRS, DAYS, 0.03)
        cls.world.apply("bars", PAIRS, DAYS)
        cls.url = cls.world.daemon(2)
        for _ in range(1200):
            if cls.world.value("SELECT count(*) FROM regfeat.partition WHERE state IN ('pending', 'running')") == "0":
                break
            time.sleep(0.05)

    def setUp(self):
        self.page = self.enterContext(Browser())
        self.load("bars")

    def load(self, feature_set):
        self.page.open("about:blank")
        self.page.open(self.url + "#" + feature_set)
        self.page.wait("return document.body.dataset.at && document.getElementById('map').dataset.cellWidth")

    def read(self, path):
        with urllib.request.urlopen(self.url + path, timeout=30) as answer:
            return answer.read().decode()

    def point_at(self, row, column, press=False):
        """Moves the pointer to a cell of the heat map."""
        self.page.run("document.getElementById('map').scrollIntoView({block: 'center'})")
        time.sleep(0.1)  # scrolling hides the tooltip
        x, y, m = self.page.run("const m = document.getElementById('map'), b = m.getBoundingClientRect(); return [b.left, b.top, {...m.dataset}]")
        w, h = float(m["cellWidth"]), float(m["cellHeight"])
        self.page.hover(x + float(m["left"]) + (column + .5) * w - 1, y + float(m["top"]) + (row + .5) * h - 1, press)

    def tooltip(self):
        """The tooltip in pairs of name and value, with the details that come a moment later."""
        self.page.wait("return document.querySelectorAll('#tip dt').length > 2")
        names, values = self.page.texts("#tip dt"), self.page.texts("#tip dd")
        return {"title": self.page.text("#tip strong span:last-child"), **dict(zip(names, values))}

    def partition(self, series, day):
        names = ["from", "to", "state", "rows_in", "nulls_out", "message", "attempts"]
        return dict(zip(names, self.world.sql(f'SELECT "from", "to", state, rows_in, nulls_out, message, attempts FROM regfeat.partition_status '
                                              f"WHERE feature_set = 'bars' AND series = '{series}' AND \"from\" LIKE '{day}%'")[0]))

    def test_figures_are_those_of_the_database(self):
        percent, done, total = self.world.sql("SELECT percent, done + empty, partitions FROM regfeat.status WHERE feature_set = 'bars'")[0]
        self.assertEqual(float(self.page.text("#percent").rstrip(" %")), float(percent))
        self.assertEqual(self.page.text("#figure-partitions"), f"{done} of {total}")
        slow = int(self.world.value("SELECT count(*) FROM regfeat.slow_partitions WHERE feature_set = 'bars'"))
        self.assertGreater(slow, 0, "the world has slow partitions")
        counts = {state: int(n) for state, n in self.world.sql("SELECT state, count(*) FROM regfeat.partition GROUP BY 1")}
        counts["done"] -= slow
        shown = self.page.run("return Object.fromEntries([...document.querySelectorAll('#legend li')].map(l => [l.dataset.state, Number(l.querySelector('b').innerText)]))")
        self.assertEqual({k: v for k, v in shown.items() if v}, {**counts, "slow": slow})
        self.assertIn(f"{len(PAIRS) * DAYS} partitions of bars", self.page.run("return document.getElementById('map').getAttribute('aria-label')"))
        self.assertEqual(self.page.text("#live-text"), "live")
        self.assertEqual(self.page.console(), [], "no complaint of the browser, of the security policy in particular")

    def test_pointing_at_a_cell_tells_about_its_partition(self):
        self.point_at(1, 2)
        expected, tip = self.partition("gbpusd", "2024-07-03"), self.tooltip()
        self.assertEqual(tip["title"], "gbpusd: done")
        self.assertEqual((tip["from"], tip["to"]), (expected["from"], expected["to"]))
        self.page.wait("return [...document.querySelectorAll('#tip dt')].some(e => e.innerText === 'NULLs')")
        tip = self.tooltip()
        self.assertEqual(tip["rows"].replace(",", ""), expected["rows_in"])
        self.assertEqual(tip["NULLs"].replace(",", ""), expected["nulls_out"])
        self.point_at(0, 5)
        self.assertEqual(self.tooltip()["title"], "eurusd: empty")
        self.point_at(0, 8)
        self.page.wait("return [...document.querySelectorAll('#tip dt')].some(e => e.innerText === 'slow')")
        self.assertRegex(self.tooltip()["slow"], r"^\d+\.\d times the median, in read$")
        self.page.hover(5, 5)
        self.assertTrue(self.page.run("return document.getElementById('tip').hidden"))

    def test_keys_walk_over_the_map(self):
        self.page.run("document.getElementById('map').focus()")
        self.page.press("home", "down", "right", "right")
        expected = self.partition("gbpusd", "2024-07-03")
        self.assertIn(expected["from"], self.page.text("#map-live"))
        self.assertIn("gbpusd: done", self.page.text("#map-live"))
        self.page.press("enter")
        self.assertIn(expected["to"], self.page.text("#kept"))
        self.page.press("escape")
        self.assertTrue(self.page.run("return document.getElementById('kept').hidden"))
        self.page.press("end")
        self.assertIn("2024-07-21", self.page.text("#map-live"))
        self.assertTrue(self.page.run("document.activeElement.blur(); return document.getElementById('tip').hidden"))

    def test_every_control_is_reached_by_tab(self):
        self.page.run("document.body.focus()")
        reached = set()
        for _ in range(25):
            self.page.press("tab")
            reached.add(self.page.run("const e = document.activeElement; return e.id || e.name || e.className || e.innerText"))
        self.assertLessEqual({"skip", "map", "range", "chart-speed", "chart-eta", "chart-workers", "JSON", "metrics"}, reached)

    def walk(self, chart):
        """What a chart says of its points, from the newest to the oldest, by keyboard."""
        self.page.run("document.getElementById(arguments[0]).focus()", chart)
        self.page.press("end")
        said = []
        while True:
            label = self.page.run("return document.getElementById(arguments[0]).getAttribute('aria-label')", chart)
            if said and said[-1] == label:
                return [re.sub("^[^ ]*: ", "", one) for one in said]  # without the time
            said.append(label)
            self.page.press("left")

    def test_charts_show_the_rows_of_progress(self):
        # A row in each slice of three seconds, and one more in the newest, after the end: without work and without a rate.
        self.world.sql("""
          INSERT INTO regfeat.feature_set (name, specification_version, order_kind, paused_at, paused_reason) VALUES ('charted', 1, 'time', now(), 'only to look at');
          INSERT INTO regfeat.partition (feature_set_id, series, lower_bound, upper_bound, claim_rank, state)
            SELECT feature_set_id, 'one', 0, 86400000000, 0, 'pending' FROM regfeat.feature_set WHERE name = 'charted';
          INSERT INTO regfeat.progress (feature_set_id, at, pending, running, done, empty, failed, cancelled, rows_done, rows_per_second, workers_active, workers_configured, eta)
            SELECT f.feature_set_id, t, 1, 0, 0, 0, 0, 0, i, CASE WHEN i > 0 THEN 1000 * i END, i, 9, CASE WHEN i > 0 THEN t + i * interval '1 minute' END
              FROM regfeat.feature_set f, generate_series(0, 6) i,
                   LATERAL (SELECT to_timestamp((floor(extract(epoch FROM now()) / 3) - greatest(i, 1)) * 3 + CASE WHEN i = 0 THEN 2 ELSE 1 END) AS t) s
             WHERE f.name = 'charted'""")
        try:
            end = time.monotonic() + 60
            while '"charted"' not in self.read("api/history") and time.monotonic() < end:
                time.sleep(0.5)  # one reading serves all who ask within some seconds
            self.load("charted")
            self.page.wait("return document.getElementById('summary-title').innerText === 'charted'")
            self.assertEqual(self.walk("chart-speed"), ["1,000 rows/s", "2,000 rows/s", "3,000 rows/s", "4,000 rows/s", "5,000 rows/s", "6,000 rows/s"])
            self.assertEqual(self.walk("chart-eta"), ["unknown", *(f"{n} min 00 s" for n in range(2, 7))])
            self.assertEqual(self.walk("chart-workers"), ["0 of 9", "2 of 9", "3 of 9", "4 of 9", "5 of 9", "6 of 9"])
        finally:
            self.world.sql("DELETE FROM regfeat.feature_set WHERE name = 'charted'")

    def test_charts_are_broken_where_nothing_was_reported(self):
        # Reports every 2 s (recent) and 10 s (older), each with a silence of 118 s; and a set that reports once a minute without any.
        self.world.sql("""
          INSERT INTO regfeat.feature_set (name, specification_version, order_kind, paused_at, paused_reason)
            SELECT n, 1, 'time', now(), 'only to look at' FROM unnest(ARRAY['outage', 'seldom']) n;
          INSERT INTO regfeat.partition (feature_set_id, series, lower_bound, upper_bound, claim_rank, state)
            SELECT feature_set_id, 'one', 0, 86400000000, 0, 'pending' FROM regfeat.feature_set WHERE name IN ('outage', 'seldom');
          INSERT INTO regfeat.progress (feature_set_id, at, pending, running, done, empty, failed, cancelled, rows_done, rows_per_second, workers_active, workers_configured)
            SELECT f.feature_set_id, now() - s * interval '1 second', 1, 0, 0, 0, 0, 0, 1, 1000, 1, 1
              FROM regfeat.feature_set f,
                   LATERAL (SELECT generate_series(0, 60, 2) AS s UNION SELECT generate_series(178, 240, 2) UNION SELECT generate_series(2000, 2100, 10)
                            UNION SELECT generate_series(2218, 2400, 10)) x WHERE f.name = 'outage'
            UNION ALL
            SELECT f.feature_set_id, now() - s * interval '1 second', 1, 0, 0, 0, 0, 0, 1, 1000, 1, 1
              FROM regfeat.feature_set f, generate_series(0, 1200, 60) s WHERE f.name = 'seldom'""")
        try:
            end = time.monotonic() + 60
            while '"seldom"' not in self.read("api/history") and time.monotonic() < end:
                time.sleep(0.5)
            lines = "return document.querySelectorAll('#chart-speed path.main').length"
            for name, of_run, of_day in (("outage", 2, 4), ("seldom", 1, 1)):
                self.load(name)
                self.page.wait(f"return document.getElementById('summary-title').innerText === '{name}' && document.querySelector('#chart-speed path.main')")
                self.assertEqual(self.page.run(lines), of_run, name)
                self.page.click("#range label:last-of-type")
                self.page.wait("return document.querySelector('#range input:checked').value === '24 h'")
                self.assertEqual(self.page.run(lines), of_day, name)
        finally:
            self.world.sql("DELETE FROM regfeat.feature_set WHERE name IN ('outage', 'seldom')")

    def test_an_address_that_is_no_encoded_text_is_a_name_that_is_not_there(self):
        self.load("100%")
        self.page.wait("return document.getElementById('summary-title').innerText === 'bars'")

    def test_charts_show_the_run(self):
        stored = [float(r[0]) for r in self.world.sql("SELECT rows_per_second FROM regfeat.progress WHERE rows_per_second IS NOT NULL")]
        workers = {r[0] for r in self.world.sql("SELECT workers_active FROM regfeat.progress")}
        for said in self.walk("chart-speed"):
            if said != "unknown":  # a mean of some seconds
                value, unit = re.search(r"^([\d.,]+)( [kMG])? rows/s$", said).groups()
                value = float(value.replace(",", "")) * {None: 1, " k": 1e3, " M": 1e6, " G": 1e9}[unit]
                self.assertTrue(.994 * min(stored) <= value <= 1.006 * max(stored), f"{value} is not within {stored}")
        box = self.page.run("const c = document.getElementById('chart-workers'); c.scrollIntoView({block: 'center'}); const b = c.getBoundingClientRect(); return [b.left + b.width / 2, b.top + b.height / 2]")
        self.page.hover(*box)
        self.page.wait("return document.querySelector('#chart-workers .reading')")
        self.assertIn(re.search(r": (\d+) of", self.page.run("return document.querySelector('#chart-workers .reading').textContent"))[1], workers)
        self.page.click("#range label:last-of-type")
        self.page.wait("return document.querySelector('#range input:checked').value === '24 h'")

    def test_failures_and_slow_partitions_are_listed(self):
        failures = self.world.sql("SELECT series, outcome, step, message FROM regfeat.failures WHERE feature_set = 'bars'")
        rows = self.page.texts("#failures tbody tr")
        self.assertEqual(len(rows), len(failures))
        for row, (series, outcome, step, message) in zip(rows, failures):
            for value in (series, outcome, step, message):
                self.assertIn(" ".join(value.split()), " ".join(row.split()))
        slow = self.world.sql("SELECT series, round(times_median::numeric, 1), phase FROM regfeat.slow_partitions WHERE feature_set = 'bars'")
        cells = self.page.run("return [...document.querySelectorAll('#slow tbody tr')].map(r => [...r.cells].map(c => c.innerText))")
        self.assertEqual([(c[0].split()[0], c[2], c[3]) for c in cells], [tuple(s) for s in slow][:8])

    def test_what_people_write_is_text(self):
        reason = "<img src=x onerror=document.title='broken'> & so on"
        self.world.sql(f"SELECT regfeat.pause('bars', $t${reason}$t$)")
        try:
            self.page.wait("return document.getElementById('notices').innerText.includes('Paused: ')")
            self.assertIn(reason, self.page.text("#notices"))
            self.assertEqual(self.page.run("return document.querySelectorAll('#notices img').length"), 0)
        finally:
            self.world.sql("SELECT regfeat.resume('bars')")
        self.page.wait("return !document.getElementById('notices').innerText.includes('Paused: ')")

    def test_dark_and_narrow(self):
        light = self.page.run("return getComputedStyle(document.body).backgroundColor")
        with Browser(width=360, height=740, dark=True) as phone:
            phone.open(self.url)
            phone.wait("return document.body.dataset.at")
            self.assertNotEqual(phone.run("return getComputedStyle(document.body).backgroundColor"), light)
            self.assertLessEqual(phone.run("return document.documentElement.scrollWidth"), 360, "nothing sticks out to the right")
            self.assertEqual(phone.console(), [])

    def test_ten_thousand_partitions(self):
        self.world.sql("""
          INSERT INTO regfeat.feature_set (name, specification_version, order_kind, paused_at, paused_reason) VALUES ('many', 1, 'time', now(), 'only to look at');
          INSERT INTO regfeat.partition (feature_set_id, series, lower_bound, upper_bound, claim_rank, state, rows_in, rows_out, estimated_rows, attempts)
            SELECT f.feature_set_id, 'series_' || lpad(s::text, 3, '0'), d * 86400000000, (d + 1) * 86400000000, d,
                   CASE WHEN s * 100 + d < 7000 THEN 'done' WHEN s * 100 + d = 7000 THEN 'failed' ELSE 'pending' END, 1440, 1440, 1440, 1
              FROM regfeat.feature_set f, generate_series(0, 99) s, generate_series(0, 99) d WHERE f.name = 'many';
          ANALYZE regfeat.partition""")
        try:
            self.load("many")
            self.page.wait("return document.getElementById('summary-title').innerText === 'many'")
            shown = self.page.run("return Object.fromEntries([...document.querySelectorAll('#legend li')].map(l => [l.dataset.state, Number(l.querySelector('b').innerText)]))")
            self.assertEqual((shown["done"], shown["failed"], shown["pending"]), (7000, 1, 2999))
            self.point_at(70, 0)
            self.assertEqual(self.tooltip()["title"], "series_070: failed")
            self.point_at(99, 99)
            self.assertEqual(self.tooltip()["title"], "series_099: pending")
            self.report_costs()
        finally:
            self.world.sql("DELETE FROM regfeat.feature_set WHERE name = 'many'")

    def test_five_thousand_series_scroll_within_their_frame(self):
        self.world.sql("""
          INSERT INTO regfeat.feature_set (name, specification_version, order_kind, paused_at, paused_reason) VALUES ('tall', 1, 'time', now(), 'only to look at');
          INSERT INTO regfeat.partition (feature_set_id, series, lower_bound, upper_bound, claim_rank, state)
            SELECT f.feature_set_id, 'series_' || lpad(s::text, 4, '0'), d * 86400000000, (d + 1) * 86400000000, d, 'pending'
              FROM regfeat.feature_set f, generate_series(0, 4999) s, generate_series(0, 1) d WHERE f.name = 'tall';
          ANALYZE regfeat.partition""")
        try:
            self.load("tall")
            self.page.wait("return document.getElementById('summary-title').innerText === 'tall'")
            frame, canvas, document = self.page.run("""const m = document.getElementById('map');
              return [m.parentElement.clientHeight, m.height, document.documentElement.scrollHeight]""")
            self.assertLessEqual(frame, 800)
            self.assertLess(canvas, 32768, "browsers draw nothing on a larger one")
            self.assertLess(document, 4000, "what is below the map is within reach")
            self.page.run("document.getElementById('map').focus()")
            self.page.press("end")
            self.assertIn("series_4999", self.page.text("#map-live"))
            scrolled = "const f = document.getElementById('map').parentElement; return f.scrollTop > 0 && f.scrollTop + f.clientHeight >= f.scrollHeight - 2"
            self.assertTrue(self.page.run(scrolled), "the keys bring the cell into view")
            self.page.wait("return !document.getElementById('tip').hidden")
            x, y, m = self.page.run("const m = document.getElementById('map'), b = m.getBoundingClientRect(); return [b.left, b.top, {...m.dataset}]")
            w, h = float(m["cellWidth"]), float(m["cellHeight"])
            self.page.run("document.activeElement.blur()")
            self.page.hover(x + float(m["left"]) + .5 * w, y + float(m["top"]) + 4990.5 * h)
            self.assertEqual(self.tooltip()["title"], "series_4990: pending")
            self.page.run("document.getElementById('map').focus()")
            self.page.press("home")
            self.assertIn("series_0000", self.page.text("#map-live"))
            self.assertEqual(self.page.run("return document.getElementById('map').parentElement.scrollTop"), 0)
        finally:
            self.world.sql("DELETE FROM regfeat.feature_set WHERE name = 'tall'")

    def report_costs(self):
        """The figures of docs/http.md."""
        self.page.open("about:blank")  # nobody else asks
        for path in ("api/status", "api/partitions"):
            time.sleep(9)  # longer than the longest pause between two readings
            sizes = []
            for encoding in ("identity", "gzip"):
                start = time.monotonic()
                with urllib.request.urlopen(urllib.request.Request(self.url + path, headers={"Accept-Encoding": encoding}), timeout=30) as answer:
                    sizes.append(len(answer.read()))
                if encoding == "identity":
                    took = time.monotonic() - start
            print(f"/{path}: {sizes[0]} bytes, {sizes[1]} compressed; read and sent within {took * 1000:.0f} ms")
        self.load("many")
        self.page.wait("return document.getElementById('summary-title').innerText === 'many'")
        draw = self.page.run("""const c = document.getElementById('map'), times = [], size = c.parentElement;
          const pen = c.getContext('2d');
          return new Promise(done => { let n = 0; const step = t => { times.push(t); size.style.width = (1000 + n % 2) + 'px'; ++n < 21 ? requestAnimationFrame(step) : done((times.at(-1) - times[0]) / 20); }; requestAnimationFrame(step); })""")
        print(f"map: laid out and drawn anew in every frame, {draw:.1f} ms a frame")


class Ends(unittest.TestCase):
    """What only happens at an end: a mended failure, a daemon that goes away."""

    def test_the_sql_that_the_page_shows_mends_a_failure_and_the_page_follows(self):
        with World(BINARY, CLUSTER) as world, Browser() as page:
            world.migrate()
            world.make_sources(["eurusd", "nzdusd"], 21, 0.005)
            world.apply("bars", ["eurusd", "nzdusd"], 21)
            url = world.daemon(2)
            page.open(url)
            page.wait("return document.querySelector('#legend [data-state=failed] b')?.innerText === '1' && document.querySelector('#legend [data-state=pending] b').innerText === '0'")
            self.assertIn("1 partition has failed for good", page.text("#notices"))
            page.run("document.getElementById('map').scrollIntoView({block: 'center'})")
            time.sleep(0.2)
            x, y, m = page.run("const m = document.getElementById('map'), b = m.getBoundingClientRect(); return [b.left, b.top, {...m.dataset}]")
            page.hover(x + float(m["left"]) + 17.5 * float(m["cellWidth"]), y + float(m["top"]) + 1.5 * float(m["cellHeight"]), press=True)
            page.wait("return document.querySelector('#kept dl')?.innerText.includes('out of order')")
            self.assertIn("nzdusd: failed", page.text("#kept h3"))
            world.sql("CREATE OR REPLACE FUNCTION bqx.delay(pair text, at timestamptz) RETURNS double precision LANGUAGE sql STABLE AS 'SELECT 0.0::double precision'")
            touched = world.sql(page.text("#kept pre"))
            self.assertEqual(len(touched), 1, "the SQL on the page touches that one partition")
            page.wait("return document.querySelector('#legend [data-state=failed] b').innerText === '0' && document.getElementById('eta').innerText === 'complete'")
            self.assertEqual(world.value("SELECT count(*) FROM regfeat.partition WHERE state NOT IN ('done', 'empty')"), "0")
            self.assertEqual(page.text("#percent"), "100 %")
            self.assertEqual(page.text("#notices"), "")
            self.assertEqual(page.console(), [])
            self.assertEqual(world.stop(), 0)
            page.wait("return document.getElementById('live').dataset.state === 'stale'")
            self.assertIn("the daemon does not answer; what is shown is", page.text("#live-text"))
            self.assertEqual(page.text("#percent"), "100 %", "what was known stays")


if __name__ == "__main__":
    reason = missing() or ("it needs Python 3.11" if sys.version_info < (3, 11) else None)
    if reason:
        print("skipped: " + reason)
        sys.exit(77)
    unittest.main(verbosity=2)
