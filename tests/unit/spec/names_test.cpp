// Names from templates: tables, columns, partitions.

#include "spec/name_template.hpp"

#include "documents.hpp"

namespace regfeatd::spec {
namespace {

List faults_of(const std::string& text, const List& known) {
  try {
    const NameTemplate checked(text, known);
  } catch (const SpecError& e) {
    return e.findings();
  }
  return {};
}

std::string expanded(const std::string& text) {
  return NameTemplate(text, {"a", "start"}).expand([](const NameTemplate::Part& p) {
    return "<" + p.text + p.format + ">";
  });
}

TEST(NameTemplate, Expands) {
  EXPECT_EQ(expanded("x_{a}_{start:%Y}{a}"), "x_<a>_<start%Y><a>");
  EXPECT_EQ(expanded("plain"), "plain");
  EXPECT_EQ(expanded("{{{a}}}"), "{<a>}");
  EXPECT_EQ(expanded("{{a}}"), "{a}");
  EXPECT_EQ(expanded("{{}}"), "{}");
  // What a placeholder stands for is not a template.
  EXPECT_EQ(target_table({.inputs = {},
                          .table = "s.{series}",
                          .order_column = "",
                          .column = "",
                          .columns = {},
                          .partition = "",
                          .storage = {},
                          .statistics = {},
                          .mark = {}},
                         "{series}"),
            "s.{series}");
}

TEST(NameTemplate, Faults) {
  EXPECT_EQ(faults_of("{serie}", {"series"}), List{"unknown placeholder \"{serie}\"; here there is {series}"});
  EXPECT_EQ(faults_of("{x}{y}", {"a", "b", "c"}),
            (List{"unknown placeholder \"{x}\"; here there is {a}, {b} and {c}",
                  "unknown placeholder \"{y}\"; here there is {a}, {b} and {c}"}));
  EXPECT_EQ(faults_of("a{", {"a"}), List{"a { has no } after it in \"a{\"; a brace in a name is written {{"});
  EXPECT_EQ(faults_of("{a{b}", {"a"}), List{"a { has no } after it in \"{a{b}\"; a brace in a name is written {{"});
  EXPECT_EQ(faults_of("a}b", {"a"}), List{"a } has no { before it in \"a}b\"; a brace in a name is written }}"});
  EXPECT_EQ(faults_of("{}", {"a"}), List{"unknown placeholder \"{}\"; here there is {a}"});
  EXPECT_EQ(faults_of("{a:%Y}", {"a"}), List{"placeholder \"{a}\" takes no format"});
  EXPECT_EQ(faults_of("{start:%s}", {"start"}), List{"the format of \"{start}\" has an unknown conversion "
                                                     "\"%s\"; there are %Y %m %d %H %M %V %G %j %%"});
  EXPECT_EQ(faults_of("{start:%}", {"start"}), List{"the format of \"{start}\" ends in a single %"});
  EXPECT_EQ(faults_of("{start:}", {"start"}), List{"the format of \"{start}\" is empty"});
}

TEST(NameTemplate, Formats) {
  const OrderValue t = *parse_time("2024-12-30 07:05");
  EXPECT_EQ(format_start("%Y_%m_%d %H:%M", t), "2024_12_30 07:05");
  EXPECT_EQ(format_start("%G-W%V", t), "2025-W01");
  EXPECT_EQ(format_start("%j%%x", t), "365%x");
  EXPECT_EQ(format_start("%G-W%V", *parse_time("2021-01-03")), "2020-W53");
  EXPECT_EQ(format_start("%G-W%V", *parse_time("2021-01-04")), "2021-W01");
  EXPECT_EQ(format_start("%G-W%V", *parse_time("2000-01-02")), "1999-W52");
  EXPECT_EQ(format_start("%G-W%V", *parse_time("1999-01-03")), "1998-W53");
  EXPECT_EQ(format_start("%Y %j", *parse_time("0099-01-01")), "0099 001");
}

TEST(Names, TablesSplitAtTheFirstDot) {
  EXPECT_EQ(split_table("a.b.c").schema, "a");
  EXPECT_EQ(split_table("a.b.c").table, "b.c");
  EXPECT_EQ(split_table("a").schema, "");
  EXPECT_EQ(table_name_fault("a."), "is empty");
  EXPECT_EQ(table_name_fault(".b"), "(its schema) is empty");
  EXPECT_EQ(table_name_fault("a\nb"), "holds a control character");
  EXPECT_EQ(table_name_fault("My Schema.it's \"quoted\""), "");
  EXPECT_EQ(name_fault(std::string(63, 'x')), "");
  EXPECT_EQ(name_fault(std::string(64, 'x')), "has 64 bytes; PostgreSQL cuts names after 63, so write a shorter one");
  EXPECT_EQ(name_fault("ü" + std::string(62, 'x')),
            "has 64 bytes; PostgreSQL cuts names after 63, so write a shorter one");
}

TEST(Names, OfADocument) {
  const FeatureSet fs = parsed();
  EXPECT_EQ(source_table(fs, 1, "eurusd"), "bqx.bqx_eurusd");
  EXPECT_EQ(target_table(fs.targets[0], "eurusd"), "bqx.r_eurusd");
  EXPECT_EQ(target_partition(fs, fs.targets[0], "eurusd", enumerate_partitions(fs)[2]), "bqx.r_eurusd_2024_09");
  const List columns = target_columns(fs, fs.targets[0]);
  ASSERT_EQ(columns.size(), 14U);
  EXPECT_EQ(columns[0], "quadratic_term_w15");
  EXPECT_EQ(columns[7], "quadratic_term_agg");
  EXPECT_EQ(columns[13], "rmse_agg");
  EXPECT_EQ(fs.input("bqx").column, "w15_bqx_return");
  EXPECT_THROW((void)fs.input("x"), SpecError);
  EXPECT_THROW((void)target_table(fs.targets[0], std::string(70, 'x')), SpecError);
}

TEST(Names, PartitionsOfSequencesAreDigitsAndTablesMayHaveNoSchema) {
  FeatureSet fs = parse_feature_set(
      edited(kSequenceDocument, {{"table: net.f", "table: f"}, {"{table}_{start}", "{table} {start}-{end}{{x}}"}}),
      "f.yaml");
  EXPECT_EQ(target_partition(fs, fs.targets[0], "seattle", {87, 173}), "f 87-173{x}");
}

TEST(Names, DefaultFormatOfStartTellsPartitionsApart) {
  const auto name = [](const std::string& partition) {
    const FeatureSet fs =
        parsed({{"{ by: month, from: 2024-07-01, to: 2024-10-01 }", partition}, {"{start:%Y_%m}", "{start}"}});
    return target_partition(fs, fs.targets[0], "eurusd", enumerate_partitions(fs)[0]);
  };
  EXPECT_EQ(name("{ by: hour, from: 2024-07-01T05:00, to: 2024-07-03 }"), "bqx.r_eurusd_2024_07_01_05");
  EXPECT_EQ(name("{ by: day, from: 2024-07-01, to: 2025-07-03 }"), "bqx.r_eurusd_2024_07_01");
  EXPECT_EQ(name("{ by: week, from: 2024-12-30, to: 2026-02-02 }"), "bqx.r_eurusd_2025_w01");
  EXPECT_EQ(name("{ by: month, from: 2024-07-01, to: 2026-07-01 }"), "bqx.r_eurusd_2024_07");
  EXPECT_EQ(name("{ by: year, from: 2024-01-01, to: 2026-01-01 }"), "bqx.r_eurusd_2024");
}

TEST(Names, FindingsGiveTheLine) {
  EXPECT_EQ(findings_with({{"bqx.m1_{series}", "bqx.m1_{pair}"}}),
            List{"f.yaml:6: source.tables[0].table: unknown placeholder \"{pair}\"; here there is {series}"});
  EXPECT_EQ(findings_with({{"{metric}_{window}\", partition", "{metric}_{windows}\", partition"}}),
            List{"f.yaml:14: targets[0].column: unknown placeholder \"{windows}\"; here there is {metric}, "
                 "{input} and {window}"});
  EXPECT_EQ(findings_with({{"{start:%Y_%m}", "{start:%b}"}}),
            List{"f.yaml:14: targets[0].partition: the format of \"{start}\" has an unknown conversion "
                 "\"%b\"; there are %Y %m %d %H %M %V "
                 "%G %j %%"});
}

TEST(Names, TooLongNamesAreRefusedForEverySeries) {
  const std::string longer(60, 'x');
  const List found = findings_with({{"gbpusd", longer}});
  ASSERT_EQ(found.size(), 2U);  // bqx_ + 60 bytes; r_ + 60 and q_ + 60 fit, but not the partition
  EXPECT_EQ(found[0], "f.yaml:7: source.tables[1]: the table name \"bqx.bqx_" + longer +
                          "\" has 64 bytes; PostgreSQL cuts names after 63, so write a shorter one");
  EXPECT_EQ(found[1], "f.yaml:14: targets[0].partition: the partition name \"r_" + longer +
                          "_2024_07\" has 70 bytes; PostgreSQL cuts names after 63, so write a shorter one");
  EXPECT_EQ(findings_with({{"{metric}_{window}\", partition", std::string(60, 'y') + "{metric}_{window}\", partition"}})
                .size(),
            1U);
  EXPECT_EQ(findings_with({{"[eurusd, gbpusd]", "[" + std::string(64, 's') + "]"}}).front(),
            "f.yaml:2: series[0]: the name \"" + std::string(64, 's') +
                "\" has 64 bytes; PostgreSQL cuts names after 63, so write a shorter one");
}

TEST(Names, PartitionsMustDiffer) {
  EXPECT_EQ(findings_with({{"{table}_{start:%Y_%m}", "{table}_{start:%Y}"}}),
            List{"f.yaml:14: targets[0].partition: \"bqx.r_eurusd_2024\" is the name of the partition from "
                 "2024-07-01 00:00:00+00 of series "
                 "\"eurusd\" and of the partition from 2024-08-01 00:00:00+00 of series \"eurusd\"; the "
                 "template must tell tables and "
                 "partitions apart"});
  EXPECT_EQ(findings_with({{"{table}_{start:%Y_%m}", "p_{start:%Y_%m}"}}),
            List{"f.yaml:14: targets[0].partition: \"bqx.p_2024_07\" is the name of the partition from "
                 "2024-07-01 00:00:00+00 of series "
                 "\"eurusd\" and of the partition from 2024-07-01 00:00:00+00 of series \"gbpusd\"; the "
                 "template must tell tables and "
                 "partitions apart"});
  EXPECT_EQ(findings_with({{"{table}_{start:%Y_%m}", "{table}_all"}}),
            List{"f.yaml:14: targets[0].partition: the template gives all partitions one name; it needs "
                 "{start} or {end}"});
  // The child of one table has the name of another table.
  EXPECT_EQ(findings_with({{"[eurusd, gbpusd]", "[a, a_2024_08]"}}).size(), 1U);
  EXPECT_EQ(findings_with({{"{table}_{start:%Y_%m}", "x.{table}_{start:%Y_%m}"}}).size(), 1U);
}

TEST(Names, PartitionNamesOfAQueriedSetAreHeldAgainstEachOtherToo) {
  EXPECT_EQ(findings_with(
                {{"series: [eurusd, gbpusd]", "series_query: SELECT name FROM pairs"}, {"{start:%Y_%m}", "{start:%Y}"}})
                .size(),
            1U);
  EXPECT_TRUE(findings_with({{"series: [eurusd, gbpusd]", "series_query: SELECT name FROM pairs"}}).empty());
}

TEST(Names, ADotInASeriesNeedsASchema) {
  EXPECT_TRUE(findings_with({{"eurusd", "EUR.USD"}}).empty());
  const List found = findings_with({{"eurusd", "EUR.USD"}, {"bqx.m1_{series}", "m1_{series}"}});
  EXPECT_EQ(found, List{"f.yaml:6: source.tables[0]: the table name \"m1_EUR.USD\" takes the dot of series "
                        "\"EUR.USD\" for the one behind the "
                        "schema; write the schema out"});
}

}  // namespace
}  // namespace regfeatd::spec
