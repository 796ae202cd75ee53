// What decides the output, and what does not.

#include "documents.hpp"

namespace regfeatd::spec {
namespace {

std::string identity(const Edits& edits = {}) { return output_identity(parsed(edits)); }

TEST(OutputIdentity, StaysForWhatDoesNotTouchTheRows) {
  const std::string same = identity();
  EXPECT_EQ(identity({{"feature_set: bqx", "feature_set: other"}}), same);
  EXPECT_EQ(identity({{"[eurusd, gbpusd]", "[gbpusd, usdjpy]"}}), same);
  EXPECT_EQ(identity({{"to: 2024-10-01", "to: 2025-10-01"}}), same);
  EXPECT_EQ(identity({{"metrics: terms",
                       "metrics: terms\npriority: 5\nclaim_order: newest_first\non_bad_key: fail\ndepends_on: [a]"}}),
            same);
  EXPECT_EQ(identity({{"{ w15: 15, agg: 90 }", "{ agg: { rows: 90 }, w15: 15 }"}}), same);
  EXPECT_EQ(identity({{"metrics: terms",
                       "metrics: [terms.rmse, terms.r2, terms.residual, terms.prediction, constant_term, "
                       "linear_term, quadratic_term]"}}),
            same);
  EXPECT_EQ(identity({{"time: t, column: \"{metric}_{window}\" }",
                       "time: t, column: \"{metric}_{window}\", publish: delete }"}}),
            same);
  EXPECT_EQ(identity({{"metrics: terms", "metrics: terms\nstatistics: all"}}), same);
  EXPECT_EQ(identity({{"time: t, column: \"{metric}_{window}\" }",
                       "time: t, column: \"{metric}_{window}\", statistics: all }"}}),
            same);
  EXPECT_EQ(identity({{"metrics: terms", "metrics: terms\nstorage: double\nlookback: rows"}}), same);
}

TEST(OutputIdentity, ChangesWithTheRows) {
  const std::string same = identity();
  const std::vector<Edits> changes{{{"time: time", "time: t"}},
                                   {{"bqx.m1_", "bqx.m5_"}},
                                   {{"rate_index", "close"}},
                                   {{"{ column: rate_index }", "{ column: rate_index, table: \"bqx.m1_{series}\" }"}},
                                   {{"agg: 90", "agg: 91"}},
                                   {{"agg: 90", "all: 90"}},
                                   {{"agg: 90", "agg: { rows: 90, offset: 1 }"}},
                                   {{"agg: 90", "agg: { range: 90min, min_rows: 4 }"}},
                                   {{"agg: 90", "agg: { rows: 90, x: time, unit: 1min }"}},
                                   {{"metrics: terms", "metrics: legacy_terms"}},
                                   {{"metrics: terms", "metrics: terms\nlookback: none"}},
                                   {{"metrics: terms", "metrics: terms\nstorage: real"}},
                                   {{"metrics: terms", "metrics: terms\nkey: [k]"}},
                                   {{"bqx.r_", "bqx.s_"}},
                                   {{"{metric}_{window}", "{window}_{metric}"}},
                                   {{"{table}_{start:%Y_%m}", "{table}_p{start:%Y_%m}"}},
                                   {{"time: t,", "time: time,"}}};
  for (const Edits& edits : changes) EXPECT_NE(identity(edits), same) << edits[0].second;
}

TEST(OutputIdentity, IsOneLineAndUnambiguous) {
  const std::string text = identity({{"rate_index", "\"a\\\"b\\\\c\""}});
  EXPECT_EQ(text.find('\n'), std::string::npos);
  EXPECT_NE(text.find("\"a\\\"b\\\\c\""), std::string::npos);
}

}  // namespace
}  // namespace regfeatd::spec
