// storage: double, real, compact and both; what compact makes of names, and what it cannot hold.
#include <set>

#include "documents.hpp"

namespace regfeatd::spec {
namespace {

using List = std::vector<std::string>;

Storage storage_with(const std::string& value) {
  const FeatureSet fs =
      parse_feature_set(edited(kDocument, {{"metrics: terms", "metrics: terms\nstorage: " + value}}), "f.yaml");
  return storage_of(fs, fs.targets[0]);
}

TEST(StorageForms, OneWordOrBothTogether) {
  EXPECT_EQ(storage_with("double"), Storage::double_precision);
  EXPECT_EQ(storage_with("real"), Storage::real);
  EXPECT_EQ(storage_with("compact"), Storage::compact);
  EXPECT_EQ(storage_with("[compact, real]"), Storage::compact_real);
  EXPECT_EQ(storage_with("[real, compact]"), Storage::compact_real);
  EXPECT_EQ(storage_with("[compact]"), Storage::compact);
  EXPECT_EQ(findings_with({{"metrics: terms", "metrics: terms\nstorage: [compact, double]"}}),
            List{"f.yaml:13: storage: \"double\" does not stand in a list; the list is [compact, real]"});
}

TEST(StorageForms, OfATargetBeforeThatOfTheSet) {
  const FeatureSet fs = parse_feature_set(
      edited(kDocument, {{"metrics: terms", "metrics: terms\nstorage: compact"},
                         {"column: \"{metric}_{window}\" }\n", "column: \"{metric}_{window}\", storage: real }\n"}}),
      "f.yaml");
  EXPECT_EQ(storage_of(fs, fs.targets[0]), Storage::compact);
  EXPECT_EQ(storage_of(fs, fs.targets[1]), Storage::real);
}

TEST(StorageForms, CompactWritesATableOfItsOwn) {
  const FeatureSet fs =
      parse_feature_set(edited(kDocument, {{"metrics: terms", "metrics: coefficients\nstorage: compact"}}), "f.yaml");
  const Target& target = fs.targets[0];
  EXPECT_EQ(target_table(target, "eurusd"), "bqx.r_eurusd");
  EXPECT_EQ(written_table(fs, target, "eurusd"), "bqx.r_eurusd_compact");
  EXPECT_EQ(target_partition(fs, target, "eurusd", enumerate_partitions(fs).front()), "bqx.r_eurusd_compact_2024_07");
  EXPECT_EQ(written_columns(fs, target), (List{"a2_w15", "a1_w15", "b_w15", "rss_w15", "tss_w15", "a2_agg", "a1_agg",
                                               "b_agg", "rss_agg", "tss_agg"}));
  EXPECT_EQ(target_columns(fs, target).size(), 30u);
}

TEST(StorageForms, DecidesTheOutput) {
  std::set<std::string> identities;
  for (const char* storage : {"double", "real", "compact", "[compact, real]"}) {
    identities.insert(output_identity(parse_feature_set(
        edited(kDocument, {{"metrics: terms", std::string("metrics: terms\nstorage: ") + storage}}), "f.yaml")));
  }
  EXPECT_EQ(identities.size(), 4u);
}

TEST(StorageForms, WhatCompactCannotHold) {
  EXPECT_EQ(
      findings_with({{"metrics: terms", "metrics: [coefficients.r2, legacy_terms.a_coef]\nstorage: compact"}}).size(),
      1u);
  EXPECT_NE(findings_with({{"w15: 15", "w15: { rows: 15, x: time, unit: 1m }"},
                           {"metrics: terms", "metrics: terms\nstorage: compact"}})
                .front()
                .find("storage: compact cannot be used: window w15 has x: time"),
            std::string::npos);
  EXPECT_NE(findings_with({{"metrics: terms", "metrics: coefficients.r2\nstorage: compact"},
                           {"column: \"{metric}_{window}\", partition", "column: \"r_{window}\", partition"}})
                .front()
                .find("it needs {metric}"),
            std::string::npos);
  // The table behind the view is nobody else's.
  EXPECT_NE(findings_with(
                {{"metrics: terms", "metrics: terms\nstorage: compact"}, {"bqx.q_{series}", "bqx.r_{series}_compact"}})
                .size(),
            0u);
}

}  // namespace
}  // namespace regfeatd::spec
