#include "input_series.hpp"

#include <algorithm>
#include <vector>

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
          s.number - static_cast<std::int64_t>(s.output - s.begin)};
}

std::string input_fingerprint(const spec::FeatureSet& fs, OrderRange range, InputStore& input) {
  StreamHash hash, order, keys;
  std::vector<StreamHash> values(fs.inputs.size());
  for (const BadKey& bad : input.bad_keys()) {
    hash.update(std::as_bytes(std::span(bad.key)));
    hash.update(std::as_bytes(std::span(bad.reason)));
  }
  input.for_each([&](const InputRows& rows) {
    for (const Segment& s : rows.segments) {
      const std::size_t first = s.begin + s.carried, count = s.end - first;
      order.update(std::as_bytes(std::span(rows.order).subspan(first, count)));
      for (std::size_t i = 0; i < values.size(); ++i)
        values[i].update(std::as_bytes(std::span(rows.values[i]).subspan(first, count)));
      for (std::size_t r = first; r < s.end && !rows.key_ends.empty(); ++r) keys.update(rows.key(r));
    }
  });
  std::string identity = spec::output_identity(fs) + " engine " + std::to_string(fit::kEngineVersion) + " range " +
                         std::to_string(range.lower) + ".." + std::to_string(range.upper) + " order " + order.hex() +
                         " keys " + keys.hex();
  for (const StreamHash& v : values) identity += " values " + v.hex();
  hash.update(std::as_bytes(std::span(identity)));
  return hash.hex();
}

}  // namespace regfeatd::populate
