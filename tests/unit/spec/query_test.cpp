#include "spec/query.hpp"

#include "documents.hpp"

namespace regfeatd::spec {
namespace {

using Pieces = std::vector<QueryPiece>;

List placeholders(const std::string& query) {
  List names;
  for (const QueryPiece& p : split_query(query)) {
    if (p.is_placeholder) names.push_back(p.text);
  }
  return names;
}

TEST(Query, SplitsAtPlaceholders) {
  EXPECT_EQ(split_query("SELECT * WHERE s = :series AND t >= :start"),
            (Pieces{{false, "SELECT * WHERE s = "}, {true, "series"}, {false, " AND t >= "}, {true, "start"}}));
  EXPECT_EQ(split_query(":a:b"), (Pieces{{true, "a"}, {true, "b"}}));
  EXPECT_TRUE(split_query("").empty());
}

TEST(Query, PiecesMakeUpTheQuery) {
  const std::string query =
      "SELECT ':x', \":y\", $$:z$$, 'it''s', E'\\':e', a::int /* :c /* :d */ :f */ -- :g\n FROM t WHERE b = "
      ":end";
  std::string again;
  for (const QueryPiece& p : split_query(query)) again += p.is_placeholder ? ":" + p.text : p.text;
  EXPECT_EQ(again, query);
  EXPECT_EQ(placeholders(query), List{"end"});
}

TEST(Query, QuotedTextAndCastsAreNoPlaceholders) {
  EXPECT_TRUE(placeholders("SELECT x::text, a[1:2], b := 1, ': x'").empty());
  EXPECT_EQ(placeholders("SELECT $tag$ :a $$ :b $tag$, :c"), List{"c"});
  EXPECT_EQ(placeholders("SELECT $1, a$b$:c, :d"), (List{"c", "d"}));
  EXPECT_EQ(placeholders("SELECT e'\\' :a', :b"), List{"b"});
  EXPECT_EQ(placeholders("SELECT ne'\\' , :b"), List{"b"});
  EXPECT_EQ(placeholders("SELECT '\\', :b"), List{"b"});
}

List source_findings(const std::string& source) {
  return findings_with(
      {{"source:\n  tables:\n    - { table: \"bqx.m1_{series}\", time: time }\n    - { table: "
        "\"bqx.bqx_{series}\", time: ts_utc }\n",
        "source: " + source + "\n\n\n\n"}});
}

TEST(Query, FindingsOfASource) {
  EXPECT_TRUE(source_findings("{ query: \"SELECT * FROM b WHERE s = :series AND t >= :start AND t < :end\", time: t }")
                  .empty());
  EXPECT_EQ(source_findings("{ query: \"SELECT * FROM b WHERE t >= :strat\", time: t }"),
            (List{"f.yaml:4: source.query: unknown placeholder \":strat\"; there are :series, :start, :end "
                  "(a colon that is none needs a space "
                  "behind it)",
                  "f.yaml:4: source.query: placeholder :start is missing",
                  "f.yaml:4: source.query: placeholder :end is missing",
                  "f.yaml:4: source.query: there are several series, but the query has no :series"}));
  EXPECT_EQ(source_findings("{ query: \"SELECT :series, :start, :end;\", time: t }"),
            List{"f.yaml:4: source.query: must be one SELECT without a semicolon"});
  EXPECT_EQ(source_findings("{ query: \"SELECT :series, :start, :end, 'x\", time: t }"),
            List{"f.yaml:4: source.query: a quote (') is not closed"});
  EXPECT_EQ(source_findings("{ query: \"SELECT :series, :start, :end\" }"),
            List{"f.yaml:4: source: needs time: COLUMN or sequence: COLUMN, by which rows are ordered"});
  EXPECT_EQ(source_findings("{ query: \"SELECT :series, :start, :end\", time: t, tables: [] }"),
            List{"f.yaml:4: source.tables: stands beside a query; give one or the other"});
}

TEST(Query, OfSeriesHasNoPlaceholders) {
  EXPECT_EQ(findings_with({{"series: [eurusd, gbpusd]", "series_query: SELECT :series"}}),
            List{"f.yaml:2: series_query: unknown placeholder \":series\"; there are none here (a colon that "
                 "is none needs a space behind it)"});
  EXPECT_EQ(parsed({{"series: [eurusd, gbpusd]", "series_query: SELECT name FROM pairs"}}).series_query,
            "SELECT name FROM pairs");
}

}  // namespace
}  // namespace regfeatd::spec
