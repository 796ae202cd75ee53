#pragma once

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "regfeatd/spec/feature_set.hpp"
#include "regfeatd/spec/settings.hpp"

namespace regfeatd::spec {

/// A valid document; the tests change one thing in it. The line numbers in expectations are those of this
/// text.
inline const std::string kDocument =
    "feature_set: bqx\n"                                            // 1
    "series: [eurusd, gbpusd]\n"                                    // 2
    "partition: { by: month, from: 2024-07-01, to: 2024-10-01 }\n"  // 3
    "source:\n"                                                     // 4
    "  tables:\n"                                                   // 5
    "    - { table: \"bqx.m1_{series}\", time: time }\n"            // 6
    "    - { table: \"bqx.bqx_{series}\", time: ts_utc }\n"         // 7
    "inputs:\n"                                                     // 8
    "  idx: { column: rate_index }\n"                               // 9
    "  bqx: { column: w15_bqx_return }\n"                           // 10
    "windows: { w15: 15, agg: 90 }\n"                               // 11
    "metrics: terms\n"                                              // 12
    "targets:\n"                                                    // 13
    "  - { input: idx, table: \"bqx.r_{series}\", time: t, column: \"{metric}_{window}\", partition: "
    "\"{table}_{start:%Y_%m}\" }\n"                                                             // 14
    "  - { input: bqx, table: \"bqx.q_{series}\", time: t, column: \"{metric}_{window}\" }\n";  // 15

/// A valid keyed document, ordered by a sequence.
inline const std::string kSequenceDocument =
    "feature_set: probe\n"                                               // 1
    "series: [seattle]\n"                                                // 2
    "partition: { by: 86, from: 1, to: 689 }\n"                          // 3
    "source: { tables: [ { table: net.latency, sequence: slice } ] }\n"  // 4
    "key: [src, dst]\n"                                                  // 5
    "inputs: { rtt: { column: rtt } }\n"                                 // 6
    "windows: { w10: 10 }\n"                                             // 7
    "metrics: [terms.r2]\n"                                              // 8
    "targets: [ { input: rtt, table: net.f, sequence: slice, column: \"{metric}\", partition: "
    "\"{table}_{start}\" } ]\n";  // 9

using Edits = std::vector<std::pair<std::string, std::string>>;

/// Replaces the first occurrence of each left side, which must be there.
inline std::string edited(std::string text, const Edits& edits) {
  for (const auto& [before, after] : edits) {
    const std::size_t pos = text.find(before);
    if (pos == std::string::npos) {
      ADD_FAILURE() << "no " << before << " in the document";
      continue;
    }
    text.replace(pos, before.size(), after);
  }
  return text;
}

inline std::vector<std::string> findings_of(const std::string& text) {
  try {
    (void)parse_feature_set(text, "f.yaml");
  } catch (const SpecError& e) {
    return e.findings();
  }
  return {};
}

/// The findings of kDocument with some edits.
inline std::vector<std::string> findings_with(const Edits& edits) { return findings_of(edited(kDocument, edits)); }

inline FeatureSet parsed(const Edits& edits = {}) { return parse_feature_set(edited(kDocument, edits), "f.yaml"); }

inline std::vector<std::string> settings_findings(const std::string& text) {
  try {
    (void)parse_settings(text, "c.yaml");
  } catch (const SpecError& e) {
    return e.findings();
  }
  return {};
}

using List = std::vector<std::string>;

}  // namespace regfeatd::spec
