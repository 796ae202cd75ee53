// Any bytes as a feature set and as a configuration: a value or a SpecError, nothing else. What parses must
// also give names, partitions and an identity without trouble.

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "regfeatd/spec/feature_set.hpp"
#include "regfeatd/spec/settings.hpp"

namespace {

using namespace regfeatd;

void require(bool condition) {
  if (!condition) std::abort();
}

void check_partitions(const spec::FeatureSet& fs) {
  const auto partitions = spec::enumerate_partitions(fs);
  require(!partitions.empty());
  require(partitions.front().lower == fs.partitioning.range.lower);
  require(partitions.back().upper == fs.partitioning.range.upper);
  for (std::size_t i = 0; i < partitions.size(); i += 1 + partitions.size() / 16) {
    require(partitions[i].lower < partitions[i].upper);
    require(spec::partition_holding(fs, partitions[i].lower) == partitions[i]);
    require(spec::partition_holding(fs, partitions[i].upper - 1) == partitions[i]);
  }
}

void check_names(const spec::FeatureSet& fs) {
  const OrderRange first = spec::partition_holding(fs, fs.partitioning.range.lower);
  for (const spec::Target& target : fs.targets) {
    for (const std::string& input : target.inputs) require(fs.input(input).name == input);
    require(spec::target_columns(fs, target).size() == target.inputs.size() * fs.plan().column_count());
    require(spec::written_columns(fs, target).size() ==
            target.inputs.size() * spec::written_plan(fs, target).column_count());
    for (const std::string& series : fs.series) {
      require(!spec::target_table(target, series).empty());
      if (!target.partition.empty()) require(!spec::target_partition(fs, target, series, first).empty());
      for (std::size_t i = 0; i < fs.source.tables.size(); ++i) require(!spec::source_table(fs, i, series).empty());
    }
  }
}

void check_feature_set(const std::string& text) {
  try {
    const spec::FeatureSet fs = spec::parse_feature_set(text, "fuzz.yaml");
    check_partitions(fs);
    check_names(fs);
    require(spec::output_identity(fs).find('\n') == std::string::npos);
    if (!fs.source.query.empty()) require(!spec::split_query(fs.source.query).empty());
  } catch (const spec::SpecError& e) {
    require(!e.findings().empty());
    for (const std::string& finding : e.findings()) require(finding.starts_with("fuzz.yaml:"));
  }
}

void check_settings(const std::string& text) {
  try {
    const spec::Settings settings = spec::parse_settings(text, "fuzz.yaml");
    require(settings.heartbeat * 2 <= settings.lease);
    require(!settings.workers || *settings.workers >= 1);
  } catch (const spec::SpecError& e) {
    require(!e.findings().empty());
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  check_feature_set(text);
  check_settings(text);
  return 0;
}
