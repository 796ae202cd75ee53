// The feature-set document: what it says, and what is wrong with it.

#include "documents.hpp"

namespace regfeatd::spec {
namespace {

TEST(FeatureSet, ReadsADocument) {
  const FeatureSet fs = parsed();
  EXPECT_EQ(fs.name, "bqx");
  EXPECT_EQ(fs.series, (List{"eurusd", "gbpusd"}));
  EXPECT_EQ(fs.order, OrderKind::time);
  EXPECT_EQ(fs.partitioning.by, PartitionUnit::month);
  EXPECT_EQ(fs.partitioning.range, (OrderRange{*parse_time("2024-07-01"), *parse_time("2024-10-01")}));
  ASSERT_EQ(fs.source.tables.size(), 2U);
  EXPECT_EQ(fs.source.tables[1].table, "bqx.bqx_{series}");
  EXPECT_EQ(fs.source.tables[1].order_column, "ts_utc");
  EXPECT_EQ(fs.source.tables[1].mark.line, 7);
  EXPECT_EQ(fs.inputs.size(), 2U);
  EXPECT_EQ(fs.windows.size(), 2U);
  EXPECT_EQ(fs.windows[1].label, "agg");
  EXPECT_EQ(fs.windows[1].rows, 90);
  EXPECT_EQ(fs.metrics.size(), 7U);
  EXPECT_EQ(fs.targets[0].inputs, List{"idx"});
  EXPECT_EQ(fs.targets[0].mark.line, 14);
  EXPECT_EQ(fs.targets[0].mark.file, "f.yaml");
  EXPECT_EQ(fs.lookback, Lookback::rows);
  EXPECT_EQ(fs.storage, Storage::double_precision);
  EXPECT_EQ(fs.statistics, Statistics::order);
  EXPECT_EQ(fs.on_bad_key, OnBadKey::quarantine);
  EXPECT_EQ(fs.claim_order, ClaimOrder::oldest_first);
  EXPECT_EQ(fs.priority, 0);
}

TEST(FeatureSet, ReadsEveryOption) {
  const FeatureSet fs =
      parsed({{"metrics: terms",
               "metrics: terms\nkey: [player id]\nlookback: none\nstorage: real\non_bad_key: fail\n"
               "claim_order: newest_first\npriority: -3\ndepends_on: [a, b]"},
              {"{metric}_{window}\", partition", "{metric}_{window}\", storage: double, publish: swap, partition"}});
  EXPECT_EQ(fs.key, List{"player id"});
  EXPECT_EQ(fs.lookback, Lookback::none);
  EXPECT_EQ(fs.storage, Storage::real);
  EXPECT_EQ(fs.on_bad_key, OnBadKey::fail);
  EXPECT_EQ(fs.claim_order, ClaimOrder::newest_first);
  EXPECT_EQ(fs.priority, -3);
  EXPECT_EQ(fs.depends_on, (List{"a", "b"}));
  EXPECT_EQ(fs.targets[0].storage, Storage::double_precision);
  EXPECT_EQ(fs.targets[0].publish, Publish::swap);
  EXPECT_EQ(fs.targets[1].storage, std::nullopt);
}

TEST(FeatureSet, FiveDifferentMistakesAreReportedTogether) {
  EXPECT_EQ(findings_with({{"from: 2024-07-01", "from: 2024-07-02"},
                           {"{ column: rate_index }", "{ colum: rate_index }"},
                           {"agg: 90", "agg: 2"},
                           {"metrics: terms", "metrics: trems"},
                           {"input: bqx", "input: bxq"}}),
            (List{"f.yaml:3: partition.from: must be the start of a month in UTC; the nearest are 2024-07-01 "
                  "00:00:00+00 and 2024-08-01 "
                  "00:00:00+00",
                  "f.yaml:9: inputs.idx: unknown key \"colum\"; did you mean \"column\"?",
                  "f.yaml:9: inputs.idx: key \"column\" is missing",
                  "f.yaml:11: windows.agg: must be a whole number from 3 to 100000, not \"2\"",
                  "f.yaml:12: metrics: there is no metric or family \"trems\"; did you mean \"terms\"?",
                  "f.yaml:15: targets[1]: there is no input \"bxq\"; did you mean \"bqx\"?"}));
}

TEST(FeatureSet, MissingKeys) {
  EXPECT_EQ(findings_of("feature_set: x\n"),
            (List{"f.yaml:1: needs series: [NAME, ...] or series_query: \"SELECT ...\"",
                  "f.yaml:1: key \"source\" is missing", "f.yaml:1: key \"targets\" is missing",
                  "f.yaml:1: key \"partition\" is missing", "f.yaml:1: key \"inputs\" is missing",
                  "f.yaml:1: key \"windows\" is missing", "f.yaml:1: key \"metrics\" is missing"}));
}

TEST(FeatureSet, Series) {
  EXPECT_EQ(findings_with({{"[eurusd, gbpusd]", "[eurusd, eurusd]"}}),
            List{"f.yaml:2: series: \"eurusd\" is listed on line 2 already"});
  EXPECT_EQ(findings_with({{"[eurusd, gbpusd]", "[]"}}), List{"f.yaml:2: series: the list is empty"});
  EXPECT_EQ(findings_with({{"[eurusd, gbpusd]", "eurusd"}}), List{"f.yaml:2: series: must be a list, not \"eurusd\""});
  EXPECT_EQ(findings_with({{"[eurusd, gbpusd]", "[a]\nseries_query: SELECT 1"}}),
            List{"f.yaml:1: has both series and series_query; give one"});
  EXPECT_EQ(findings_with({{"bqx.r_{series}", "bqx.r"}}),
            List{"f.yaml:14: targets[0].table: \"bqx.r\" is the table of series \"eurusd\" and of "
                 "\"gbpusd\"; each series needs its own, with "
                 "{series} in the name"});
  EXPECT_EQ(findings_with({{"bqx.m1_{series}", "bqx.m1"}, {"bqx.bqx_{series}", "bqx.bqx"}}),
            List{"f.yaml:5: source.tables: there are several series, but no table has {series} in its name"});
  EXPECT_EQ(findings_with({{"series: [eurusd, gbpusd]", "series_query: SELECT n FROM s"}, {"bqx.q_{series}", "bqx.q"}}),
            List{"f.yaml:15: targets[1].table: the series are not known yet, so {series} must stand in the name"});
  // YAML's other spellings of booleans are names like any other.
  EXPECT_EQ(parsed({{"[eurusd, gbpusd]", "[no, 1]"}}).series, (List{"no", "1"}));
}

TEST(FeatureSet, OneKindOfOrder) {
  EXPECT_EQ(findings_with({{"time: ts_utc", "sequence: ts_utc"}}),
            List{"f.yaml:7: source.tables[1].sequence: orders rows by sequence, but source.tables[0].time "
                 "(line 6) by time; a feature set has "
                 "one kind of order"});
  EXPECT_EQ(findings_with({{"  tables:", "  join: sequence\n  tables:"}}),
            List{"f.yaml:5: source.join: orders rows by sequence, but source.tables[0].time (line 7) by "
                 "time; a feature set has one kind of "
                 "order"});
  EXPECT_EQ(findings_with({{"bqx.r_{series}\", time: t,", "bqx.r_{series}\", time: t, sequence: t,"}}),
            List{"f.yaml:14: targets[0]: has both time and sequence; give the one by which rows are ordered"});
  EXPECT_EQ(findings_with({{"bqx.r_{series}\", time: t,", "bqx.r_{series}\","}}),
            List{"f.yaml:14: targets[0]: needs time: COLUMN or sequence: COLUMN, by which rows are ordered"});
  EXPECT_EQ(parse_feature_set(kSequenceDocument, "f.yaml").order, OrderKind::sequence);
}

TEST(FeatureSet, Source) {
  EXPECT_EQ(findings_with({{"bqx.bqx_", "bqx.m1_"}}),
            List{"f.yaml:7: source.tables[1]: table \"bqx.m1_{series}\" is listed already"});
  EXPECT_EQ(findings_with({{"bqx.q_{series}", "bqx.bqx_{series}"}}),
            List{"f.yaml:15: targets[1].table: \"bqx.bqx_eurusd\" is a table of the source; rows would be "
                 "written over what they come from"});
  EXPECT_EQ(findings_with({{"  tables:", "  time: t\n  tables:"}}),
            List{"f.yaml:5: source.time: belongs to each of the tables, not here"});
}

TEST(FeatureSet, Inputs) {
  EXPECT_EQ(findings_with(
                {{"  bqx: { column: w15_bqx_return }", "  bqx: { column: w15_bqx_return }\n  more: { column: x }"}}),
            List{"f.yaml:11: inputs: no target uses \"more\"; name it in a target or leave it out"});
  EXPECT_EQ(findings_with({{"{ column: rate_index }", "{ column: rate_index, table: \"bqx.m2_{series}\" }"}}),
            List{"f.yaml:9: inputs.idx: the source has no table \"bqx.m2_{series}\"; the source's tables are "
                 "\"bqx.m1_{series}\" and "
                 "\"bqx.bqx_{series}\""});
  EXPECT_EQ(findings_with({{"input: idx", "input: price"}}),
            List{"f.yaml:14: targets[0]: there is no input \"price\"; the inputs are \"idx\" and \"bqx\""});
  EXPECT_EQ(findings_with({{"input: idx", "input: idx, inputs: [idx]"}}),
            List{"f.yaml:14: targets[0]: has both input and inputs; give one"});
  EXPECT_EQ(findings_with({{"input: idx", "inputs: [idx, idx]"}}),
            List{"f.yaml:14: targets[0].inputs: \"idx\" is listed on line 14 already"});
}

List window_findings(const std::string& window) { return findings_with({{"agg: 90", "agg: " + window}}); }

TEST(FeatureSet, Windows) {
  const auto window = [](const std::string& text) { return parsed({{"agg: 90", "agg: " + text}}).windows[1]; };
  const fit::Window rows = window("{ rows: 15, offset: 1, x: time, unit: 1min }");
  EXPECT_EQ(rows.kind, fit::Window::Kind::rows);
  EXPECT_EQ(rows.offset, 1);
  EXPECT_EQ(rows.x, fit::XAxis::time);
  EXPECT_EQ(rows.x_unit, 60e6);
  const fit::Window range = window("{ range: 5d, min_rows: 4 }");
  EXPECT_EQ(range.kind, fit::Window::Kind::range);
  EXPECT_EQ(range.range, 5 * kMicrosPerDay);
  EXPECT_EQ(range.min_rows, 4);
  EXPECT_EQ(range.offset, std::nullopt);

  EXPECT_EQ(window_findings("{ rows: 15, range: 5d }"),
            List{"f.yaml:11: windows.agg: has both rows and range; give one"});
  EXPECT_EQ(window_findings("{ offset: 1 }"), List{"f.yaml:11: windows.agg: needs rows: N or range: DISTANCE"});
  EXPECT_EQ(window_findings("100001"),
            List{"f.yaml:11: windows.agg: must be a whole number from 3 to 100000, not \"100001\""});
  EXPECT_EQ(window_findings("15.5"),
            List{"f.yaml:11: windows.agg: must be a whole number from 3 to 100000, not \"15.5\""});
  EXPECT_EQ(window_findings("{ rows: 15, min_rows: 3 }"),
            List{"f.yaml:11: windows.agg.min_rows: goes with range only; a window by rows always has all its rows"});
  EXPECT_EQ(window_findings("{ range: 5d, min_rows: 0 }"),
            List{"f.yaml:11: windows.agg.min_rows: must be a whole number from 1 to 100000, not \"0\""});
  EXPECT_EQ(window_findings("{ range: 5 }"), List{"f.yaml:11: windows.agg.range: must be a duration with a "
                                                  "unit (us, ms, s, min, h, d, w), such as 10s, not \"5\""});
  EXPECT_EQ(window_findings("{ range: 0d }").size(), 1U);
  EXPECT_EQ(window_findings("{ rows: 15, offset: -1 }"),
            List{"f.yaml:11: windows.agg.offset: must be a whole number from 0 to 100000, not \"-1\""});
  EXPECT_EQ(window_findings("{ rows: 15, x: time }"),
            List{"f.yaml:11: windows.agg: needs unit: DURATION with x: time, what 1 on the x axis means"});
  EXPECT_EQ(window_findings("{ rows: 15, unit: 1d }"), List{"f.yaml:11: windows.agg.unit: goes with x: time only"});
  EXPECT_EQ(window_findings("{ rows: 15, x: row, unit: 1d }"),
            List{"f.yaml:11: windows.agg.unit: has no meaning with x: row"});
  EXPECT_EQ(window_findings("{ rows: 15, x: tiem, unit: 1d }"),
            List{"f.yaml:11: windows.agg.x: must be row or time, not \"tiem\""});
  EXPECT_EQ(window_findings("{ rows: 15, x: sequence }"),
            List{"f.yaml:11: windows.agg.x: must be row or time, not \"sequence\""});
  EXPECT_EQ(findings_with({{"{ w15: 15, agg: 90 }", "{}"}}), List{"f.yaml:11: windows: the mapping is empty"});
}

TEST(FeatureSet, WindowsOfSequences) {
  const auto with = [](const std::string& window) {
    return edited(kSequenceDocument, {{"w10: 10", "w10: " + window}});
  };
  const fit::Window w = parse_feature_set(with("{ range: 10, x: sequence, unit: 2 }"), "f.yaml").windows[0];
  EXPECT_EQ(w.range, 10);
  EXPECT_EQ(w.x, fit::XAxis::time);
  EXPECT_EQ(w.x_unit, 2.0);
  EXPECT_EQ(parse_feature_set(with("{ range: 10, x: time }"), "f.yaml").windows[0].x_unit, 1.0);
  EXPECT_EQ(findings_of(with("{ range: 5d }")).size(), 1U);
}

TEST(FeatureSet, Metrics) {
  const auto names = [](const std::string& metrics) {
    List out;
    for (const fit::Metric m : parsed({{"metrics: terms", "metrics: " + metrics}}).metrics)
      out.emplace_back(fit::info(m).name);
    return out;
  };
  EXPECT_EQ(names("[terms.r2, sigma]"), (List{"r2", "sigma"}));
  EXPECT_EQ(names("coefficients").size(), 15U);
  EXPECT_EQ(names("[terms, inference.sigma]").size(), 8U);
  EXPECT_EQ(findings_with({{"metrics: terms", "metrics: [r2]"}}),
            List{"f.yaml:12: metrics[0]: several families have a metric \"r2\"; say which: "
                 "\"coefficients.r2\", \"terms.r2\" and "
                 "\"legacy_terms.r2\""});
  EXPECT_EQ(findings_with({{"metrics: terms", "metrics: [sigam, terms.sigma]"}}),
            (List{"f.yaml:12: metrics[0]: there is no metric or family \"sigam\"; did you mean \"sigma\"?",
                  "f.yaml:12: metrics[1]: there is no metric or family \"terms.sigma\"; `regfeatd metrics` "
                  "lists them"}));
  EXPECT_EQ(findings_with({{"metrics: terms", "metrics: [xyzzy]"}}),
            List{"f.yaml:12: metrics[0]: there is no metric or family \"xyzzy\"; `regfeatd metrics` lists them"});
  EXPECT_EQ(findings_with({{"metrics: terms", "metrics:\n  - terms\n  - terms.r2"}}),
            List{"f.yaml:14: metrics[1]: metric \"terms.r2\" is listed on line 13 already"});
  EXPECT_EQ(findings_with({{"metrics: terms", "metrics: []"}}), List{"f.yaml:12: metrics: the list is empty"});
}

TEST(FeatureSet, ColumnsOfATableMustDiffer) {
  EXPECT_EQ(findings_with({{"metrics: terms", "metrics: [coefficients.r2, terms.r2]"}}).front(),
            "f.yaml:14: targets[0].column: column \"r2_w15\" is made twice: by metric coefficients.r2 of "
            "input \"idx\", window \"w15\" and by "
            "metric terms.r2 of input \"idx\", window \"w15\" (and 1 more)");
  EXPECT_EQ(findings_with({{"{metric}_{window}", "{metric}"}}).front(),
            "f.yaml:14: targets[0].column: column \"quadratic_term\" is made twice: by metric "
            "terms.quadratic_term of input \"idx\", window "
            "\"w15\" and by metric terms.quadratic_term of input \"idx\", window \"agg\" (and 6 more); the "
            "template lacks {window}");
  EXPECT_EQ(findings_with({{"input: bqx, table: \"bqx.q_{series}\", time: t, column: \"{metric}_{window}\"",
                            "input: bqx, table: \"bqx.r_{series}\", time: t, column: \"{metric}_{window}\", partition: "
                            "\"{table}_{start:%Y_%m}\""}}),
            List{"f.yaml:15: targets[1].column: column \"quadratic_term_w15\" is made twice: by metric "
                 "terms.quadratic_term of input \"idx\", "
                 "window \"w15\" of targets[0] and by metric terms.quadratic_term of input \"bqx\", window "
                 "\"w15\" (and 13 more)"});
  EXPECT_EQ(findings_with({{"time: t,", "time: r2_agg,"}}).front(),
            "f.yaml:14: targets[0].column: column \"r2_agg\" is made twice: by the order column and by "
            "metric terms.r2 of input \"idx\", "
            "window \"agg\"");
}

TEST(FeatureSet, TargetsOfOneTable) {
  const std::string same = "input: bqx, table: \"bqx.r_{series}\", time: t, column: \"{metric}_{window}_b\"";
  const std::string was = "input: bqx, table: \"bqx.q_{series}\", time: t, column: \"{metric}_{window}\"";
  EXPECT_TRUE(findings_with({{was, same + ", partition: \"{table}_{start:%Y_%m}\""}}).empty());
  EXPECT_EQ(findings_with({{was, same}}),
            List{"f.yaml:15: targets[1]: writes the same table as targets[0] but differs in partition"});
  EXPECT_EQ(
      findings_with({{was,
                      "input: bqx, table: \"bqx.r_{series}\", time: u, column: \"{metric}_{window}_b\", partition: "
                      "\"{table}_{start:%Y_%m}\""}}),
      List{"f.yaml:15: targets[1]: writes the same table as targets[0] but differs in its order column"});
  EXPECT_EQ(findings_with({{was, same + ", partition: \"{table}_{start:%Y_%m}\", statistics: all"}}),
            List{"f.yaml:15: targets[1]: writes the same table as targets[0] but differs in statistics"});
  EXPECT_EQ(findings_with({{"bqx.q_{series}", "bqx.r_eurusd"}}).front(),
            "f.yaml:15: targets[1].table: \"bqx.r_eurusd\" is written by targets[0] too; give both the same "
            "template");
}

TEST(FeatureSet, StatisticsOfATargetBeforeThoseOfTheSet) {
  const auto of_targets = [](const Edits& edits) {
    const FeatureSet fs = parsed(edits);
    return std::pair{statistics_of(fs, fs.targets[0]), statistics_of(fs, fs.targets[1])};
  };
  const std::string last = "column: \"{metric}_{window}\" }\n";
  EXPECT_EQ(of_targets({}), (std::pair{Statistics::order, Statistics::order}));
  EXPECT_EQ(of_targets({{last, "column: \"{metric}_{window}\", statistics: all }\n"}}),
            (std::pair{Statistics::order, Statistics::all}));
  EXPECT_EQ(of_targets({{"metrics: terms", "metrics: terms\nstatistics: all"}}),
            (std::pair{Statistics::all, Statistics::all}));
  EXPECT_EQ(of_targets({{"metrics: terms", "metrics: terms\nstatistics: all"},
                        {last, "column: \"{metric}_{window}\", statistics: order }\n"}}),
            (std::pair{Statistics::all, Statistics::order}));
  EXPECT_EQ(findings_with({{"metrics: terms", "metrics: terms\nstatistics: some"}}),
            List{"f.yaml:13: statistics: must be order or all, not \"some\""});
  EXPECT_EQ(findings_with({{last, "column: \"{metric}_{window}\", statistics: [all] }\n"}}).size(), 1U);
  EXPECT_EQ(findings_with({{last, "column: \"{metric}_{window}\", statistics: ts }\n"}}),
            List{"f.yaml:15: targets[1].statistics: must be order or all, not \"ts\""});
}

TEST(FeatureSet, RowsMustFitIntoPostgres) {
  std::string windows;
  for (int i = 0; i < 100; ++i) windows += (i == 0 ? "w" : ", w") + std::to_string(i) + ": 10";
  EXPECT_TRUE(findings_with({{"w15: 15, agg: 90", windows}}).empty());
  const Edits wide{{"w15: 15, agg: 90", windows}, {"metrics: terms", "metrics: coefficients"}};
  EXPECT_EQ(findings_with(wide).front(),
            "f.yaml:14: targets[0]: a row of table \"bqx.r_{series}\" would take 12224 bytes; PostgreSQL stores at "
            "most 8160, so spread the columns over several tables or use storage: real");
  EXPECT_TRUE(findings_with({{"w15: 15, agg: 90", windows}, {"metrics: terms", "metrics: coefficients\nstorage: real"}})
                  .empty());
  EXPECT_EQ(findings_with({{"w15: 15, agg: 90", windows}, {"metrics: terms", "metrics: [coefficients, legacy_terms]"}})
                .front(),
            "f.yaml:14: targets[0]: table \"bqx.r_{series}\" would have 2401 columns; PostgreSQL allows 1600");
}

TEST(FeatureSet, KeysAndDependencies) {
  EXPECT_EQ(findings_with({{"metrics: terms", "metrics: terms\nkey: [t, k]"}}),
            List{"f.yaml:13: key: \"t\" is the column that orders the rows; it cannot be a key too"});
  EXPECT_EQ(findings_with({{"metrics: terms", "metrics: terms\ndepends_on: [bqx]"}}),
            List{"f.yaml:13: depends_on: names the feature set itself"});
  EXPECT_EQ(findings_with({{"metrics: terms", "metrics: terms\npriority: high"}}),
            List{"f.yaml:13: priority: must be a whole number from -1000000 to 1000000, not \"high\""});
}

// Names are quoted where they are used; here they are ordinary text.
TEST(FeatureSet, NamesMayHoldAnythingPrintable) {
  const FeatureSet fs = parsed({{"eurusd", "\"Eur 'Usd\\\" ü\""}, {"rate_index", "\"Rate Index\""}});
  EXPECT_EQ(fs.series[0], "Eur 'Usd\" ü");
  EXPECT_EQ(target_table(fs.targets[0], fs.series[0]), "bqx.r_Eur 'Usd\" ü");
  EXPECT_EQ(findings_with({{"eurusd", "\"a\\0b\""}}),
            List{"f.yaml:2: series[0]: the name \"a\\x00b\" holds a control character"});
}

}  // namespace
}  // namespace regfeatd::spec
