// Every file under config/ reads without a finding and says what its comments promise.

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>

#include "regfeatd/spec/feature_set.hpp"
#include "regfeatd/spec/settings.hpp"

namespace regfeatd::spec {
namespace {

const std::filesystem::path kConfig = std::filesystem::path(SOURCE_DIR) / "config";

FeatureSet shipped(const std::string& name) {
  return read_feature_set(kConfig / "feature_sets" / (name + ".yaml")).feature_set;
}

TEST(ShippedFiles, EveryFeatureSetReads) {
  std::set<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(kConfig / "feature_sets")) {
    SCOPED_TRACE(entry.path().string());
    const FeatureSetDocument document = read_feature_set(entry.path());
    EXPECT_EQ(document.feature_set.name, entry.path().stem());
    EXPECT_FALSE(document.text.empty());
    names.insert(document.feature_set.name);
  }
  EXPECT_EQ(names,
            (std::set<std::string>{"bqx_regression", "bqx_terms", "bqx_legacy_terms", "player_form", "probe_latency"}));
}

TEST(ShippedFiles, ConfigurationShowsTheDefaults) {
  Settings settings = load_settings(kConfig / "regfeatd.yaml");
  settings.file.clear();
  EXPECT_EQ(settings, Settings{});
}

/// What an operator sees of a daemon's settings in the database is all that can be set, in the notation of the file.
TEST(ShippedFiles, SettingsInTheDatabaseAreThoseOfTheFile) {
  Settings settings = load_settings(kConfig / "regfeatd.yaml");
  settings.daemon_name = "loader-1";
  const nlohmann::json shown = nlohmann::json::parse(settings_json(settings));
  std::set<std::string> keys;
  for (const auto& [key, value] : shown.items()) keys.insert(key);
  std::ifstream file(kConfig / "regfeatd.yaml");
  std::set<std::string> expected{"file"};
  for (std::string line; std::getline(file, line);) {
    std::smatch key;
    if (std::regex_search(line, key, std::regex("^(?:# )?([a-z_]+):( |$)"))) expected.insert(key[1]);
  }
  expected.erase("database");
  expected.erase("auto");  // a word of the comments
  EXPECT_EQ(keys, expected) << "add what is new to src/spec/settings_json.cpp";
  EXPECT_EQ(shown["lease"], "1min");
  EXPECT_EQ(shown["retry"]["cap"], "5min");
  EXPECT_EQ(shown["retention"]["attempts"], "90d");
  EXPECT_EQ(shown["memory_budget"], "1GiB");
}

TEST(ShippedFiles, BqxRegression) {
  const FeatureSet fs = shipped("bqx_regression");
  EXPECT_EQ(fs.series.size(), 28U);
  EXPECT_EQ(enumerate_partitions(fs).size(), 12U);
  EXPECT_EQ(fs.plan().column_count(), 90U);
  ASSERT_EQ(fs.targets.size(), 2U);
  EXPECT_EQ(target_columns(fs, fs.targets[0]).front(), "a2_idx_w15");
  EXPECT_EQ(target_columns(fs, fs.targets[1]).back(), "extrapolation_error_bqx_agg");
  EXPECT_EQ(target_partition(fs, fs.targets[0], "eurusd", enumerate_partitions(fs)[5]), "bqx.reg_rate_eurusd_2024_12");
}

TEST(ShippedFiles, BqxTermsGenerations) {
  const FeatureSet terms = shipped("bqx_terms");
  EXPECT_EQ(target_columns(terms, terms.targets[0]).size(), 84U);
  EXPECT_EQ(target_columns(terms, terms.targets[0]).front(), "quadratic_term_idx_w60");
  EXPECT_EQ(terms.plan().lookback_rows(), 629);
  const FeatureSet legacy = shipped("bqx_legacy_terms");
  EXPECT_EQ(target_columns(legacy, legacy.targets[0]).size(), 108U);
  EXPECT_EQ(legacy.plan().lookback_rows(), 630);
}

TEST(ShippedFiles, KeyedSets) {
  const FeatureSet players = shipped("player_form");
  EXPECT_EQ(players.key, (std::vector<std::string>{"season", "player_id"}));
  EXPECT_EQ(enumerate_partitions(players).size(), 618U);
  EXPECT_EQ(players.plan().lookback_range(), 30 * kMicrosPerDay);
  EXPECT_EQ(players.windows[0].x_unit, static_cast<double>(kMicrosPerDay));
  const FeatureSet probes = shipped("probe_latency");
  EXPECT_EQ(probes.order, OrderKind::sequence);
  EXPECT_EQ(enumerate_partitions(probes).size(), 8U);
  EXPECT_EQ(target_partition(probes, probes.targets[0], "seattle", {1, 87}), "net.latency_trend_from_1");
}

}  // namespace
}  // namespace regfeatd::spec
