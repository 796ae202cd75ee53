#include "input_series.hpp"

#include <algorithm>

#include "stream_hash.hpp"

namespace regfeatd::populate {

std::size_t input_index(const spec::FeatureSet& fs, const std::string& name) {
  const auto it =
      std::find_if(fs.inputs.begin(), fs.inputs.end(), [&](const spec::Input& i) { return i.name == name; });
  return static_cast<std::size_t>(it - fs.inputs.begin());
}

fit::Series series_of(const InputRows& rows, const Segment& s, std::size_t input) {
  const std::size_t n = s.end - s.begin;
  // Row numbers count from the partition's first row, so that results do not depend on rows that are not
  // read.
  return {std::span(rows.order).subspan(s.begin, n), std::span(rows.values[input]).subspan(s.begin, n),
          -static_cast<std::int64_t>(s.output - s.begin)};
}

std::string input_fingerprint(const spec::FeatureSet& fs, OrderRange range, const InputRows& rows) {
  StreamHash hash;
  for (const BadKey& bad : rows.bad_keys) {
    hash.update(std::as_bytes(std::span(bad.key)));
    hash.update(std::as_bytes(std::span(bad.reason)));
  }
  hash.update(std::as_bytes(std::span(rows.order)));
  for (const auto& v : rows.values) hash.update(std::as_bytes(std::span(v)));
  hash.update(rows.key_bytes);
  const std::string identity = spec::output_identity(fs) + " engine " + std::to_string(fit::kEngineVersion) +
                               " range " + std::to_string(range.lower) + ".." + std::to_string(range.upper);
  hash.update(std::as_bytes(std::span(identity)));
  return hash.hex();
}

}  // namespace regfeatd::populate
