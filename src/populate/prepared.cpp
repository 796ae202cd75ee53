#include "prepared.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "regfeatd/base/fault.hpp"
#include "regfeatd/queue/feature_sets.hpp"

namespace regfeatd::populate {
namespace {

/// The fits keep their constants, and two doubles for each row of the look-back.
std::size_t fixed_bytes(const spec::FeatureSet& fs) {
  constexpr std::size_t kConstants = 256u << 10;
  std::set<bool> storages;
  for (const spec::Target& t : fs.targets) storages.insert(spec::is_compact(spec::storage_of(fs, t)));
  return kConstants + storages.size() * 2 * sizeof(double) * static_cast<std::size_t>(fs.plan().lookback_rows());
}

std::size_t bytes_of(const SeriesPlaces& places) {
  std::size_t bytes = sizeof places;
  for (const ResolvedTarget& t : places.targets) {
    bytes += sizeof t + t.copy_columns.size() + t.filter_columns.size();
    for (const auto& c : t.table.columns) bytes += sizeof c + 2 * c.name.size();
    for (const std::string& f : t.features) bytes += sizeof f + 2 * f.size();
  }
  return bytes;
}

[[noreturn]] void throw_findings(const std::vector<std::string>& findings) {
  std::string text;
  for (const std::string& f : findings) text += (text.empty() ? "" : "; ") + f;
  throw Fault(FaultClass::configuration, text);
}

SeriesPlaces find_places(pqxx::transaction_base& tx, const spec::FeatureSet& fs, const std::string& series) {
  std::vector<std::string> findings;
  SeriesPlaces places;
  places.source = resolve_source(tx, fs, series, findings);
  for (const spec::Target& target : fs.targets) {
    auto resolved = resolve_target(tx, fs, target, series, findings);
    if (resolved) {
      check_key_types(fs, places.source, *resolved, findings);
      places.targets.push_back(std::move(*resolved));
    } else if (findings.empty()) {
      findings.push_back(fmt::format("target {}: it does not exist: apply the feature set again",
                                     spec::written_table(fs, target, series)));
    }
  }
  if (!findings.empty()) throw_findings(findings);
  return places;
}

std::unique_ptr<Prepared> load(pqxx::transaction_base& tx, const queue::Claim& claim) {
  const auto stored = queue::load_specification(tx, claim.feature_set, claim.specification_version);
  try {
    return std::make_unique<Prepared>(spec::parse_feature_set(stored.document, "specification"));
  } catch (const spec::SpecError& e) {
    throw Fault(FaultClass::configuration, e.what());
  }
}

}  // namespace

Prepared::Prepared(spec::FeatureSet set) : fs(std::move(set)), fixed_bytes_(fixed_bytes(fs)) {}

fit::Fitter& Prepared::fitter(const spec::Target& target) {
  auto& slot = spec::is_compact(spec::storage_of(fs, target)) ? compact_ : wide_;
  if (!slot) slot.emplace(spec::written_plan(fs, target), kBlockRows);
  return *slot;
}

const SeriesPlaces& Prepared::places(pqxx::transaction_base& tx, const std::string& series) {
  const auto known = places_.find(series);
  if (known != places_.end()) return known->second;
  if (places_bytes_ > kKeptBytes / 2) forget_places();  // very many series
  const SeriesPlaces& found = places_.emplace(series, find_places(tx, fs, series)).first->second;
  places_bytes_ += bytes_of(found);
  return found;
}

void Prepared::forget_places() {
  places_.clear();
  places_bytes_ = 0;
}

Prepared& PreparedSets::get(pqxx::transaction_base& tx, const queue::Claim& claim) {
  const Version version{claim.feature_set.value, claim.specification_version};
  const auto found = std::find_if(sets_.begin(), sets_.end(), [&](const auto& s) { return s.first == version; });
  if (found != sets_.end()) {
    sets_.splice(sets_.begin(), sets_, found);
  } else {
    sets_.emplace_front(version, load(tx, claim));
  }
  std::size_t bytes = 0;
  for (auto s = sets_.begin(); s != sets_.end();) {
    bytes += s->second->bytes();
    s = s == sets_.begin() || bytes <= kKeptBytes ? std::next(s) : sets_.erase(s);
  }
  return *sets_.front().second;
}

void PreparedSets::forget_places() {
  for (auto& [version, set] : sets_) set->forget_places();
}

void WriteBuffers::shape(std::size_t inputs, std::size_t columns, const pg::TupleLayout& layout,
                         std::size_t send_rows) {
  const auto rows = [](std::size_t bytes, std::size_t row_bytes, std::size_t most) {
    return std::clamp<std::size_t>(bytes / std::max<std::size_t>(row_bytes, 1), 1, most);
  };
  const std::size_t block_rows = rows(kBlockBytes, inputs * columns * sizeof(double), kBlockRows);
  const auto fits = [&](const fit::ColumnBlock& b) { return b.columns() == columns && b.max_rows() == block_rows; };
  if (blocks_.size() != inputs || !std::all_of(blocks_.begin(), blocks_.end(), fits)) {
    blocks_.clear();
    for (std::size_t i = 0; i < inputs; ++i) blocks_.emplace_back(columns, block_rows);
  }
  block_rows_ = block_rows;
  const std::size_t encoder_rows = rows(kEncodedBytes, pg::TupleEncoder::tuple_bytes(layout), send_rows);
  if (!encoder_ || encoder_rows != encoder_rows_ || !(encoder_->layout() == layout)) {
    encoder_.reset();
    encoder_.emplace(layout, encoder_rows);
  }
  encoder_rows_ = encoder_rows;
  encoder_->reset_null_counts();
}

}  // namespace regfeatd::populate
