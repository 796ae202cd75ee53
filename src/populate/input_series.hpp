#pragma once

#include <string>

#include "regfeatd/fit/fitter.hpp"
#include "regfeatd/populate/source.hpp"
#include "regfeatd/spec/feature_set.hpp"

namespace regfeatd::populate {

/// The index of an input that the specification names.
[[nodiscard]] std::size_t input_index(const spec::FeatureSet& fs, const std::string& name);

/// One input of one segment, as the fit takes it. Borrows from `rows`.
[[nodiscard]] fit::Series series_of(const InputRows& rows, const Segment& s, std::size_t input);

/// XXH3 of everything that decides the output: the input rows, look-back included, keys set aside, the
/// specification's output identity, the engine's version, the range.
[[nodiscard]] std::string input_fingerprint(const spec::FeatureSet& fs, OrderRange range,
                                            const InputRows& rows);

}  // namespace regfeatd::populate
