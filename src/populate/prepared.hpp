#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "regfeatd/fit/fitter.hpp"
#include "regfeatd/pg/tuple_encoder.hpp"
#include "regfeatd/populate/source.hpp"
#include "regfeatd/populate/target.hpp"
#include "regfeatd/queue/work.hpp"
#include "regfeatd/spec/feature_set.hpp"

namespace regfeatd::populate {

// Rows fitted at a time: with 90 columns a block of output is 0.7 MB, which stays in the second-level cache until it is
// encoded.
inline constexpr std::size_t kBlockRows = 1024;

// What a worker has beside its input rows; src/daemon/memory.cpp allows it 12 MiB, connection and stack included.
inline constexpr std::size_t kBlockBytes = 4u << 20;    ///< columns in hand: fewer rows at a time beyond 512 of them
inline constexpr std::size_t kEncodedBytes = 1u << 20;  ///< rows encoded at a time
inline constexpr std::size_t kKeptBytes = 4u << 20;     ///< what is known of feature sets

/// What the catalogue says of one series; asked once and kept until a fault.
struct SeriesPlaces {
  ResolvedSource source;
  std::vector<ResolvedTarget> targets;
};

/// A specification version with what is reused between its partitions.
class Prepared {
 public:
  explicit Prepared(spec::FeatureSet set);

  const spec::FeatureSet fs;

  /// Of the plan that a target shares with all targets of the same storage.
  [[nodiscard]] fit::Fitter& fitter(const spec::Target& target);
  /// Asks the catalogue where it is not known yet. Throws Fault (configuration) with everything that is wrong. Valid
  /// until the next call.
  [[nodiscard]] const SeriesPlaces& places(pqxx::transaction_base& tx, const std::string& series);
  void forget_places();
  /// An estimate of what all of it takes, the scratch memory of the fits included.
  [[nodiscard]] std::size_t bytes() const noexcept { return fixed_bytes_ + places_bytes_; }

 private:
  std::optional<fit::Fitter> wide_, compact_;  // made when first needed
  std::map<std::string, SeriesPlaces> places_;
  std::size_t fixed_bytes_, places_bytes_ = 0;
};

/// The specification versions that were used last, within kKeptBytes.
class PreparedSets {
 public:
  /// The version of a claim, read from the database where it is not kept; older ones go. Valid until the next call.
  [[nodiscard]] Prepared& get(pqxx::transaction_base& tx, const queue::Claim& claim);
  void forget_places();

 private:
  using Version = std::pair<std::int64_t, int>;
  std::list<std::pair<Version, std::unique_ptr<Prepared>>> sets_;  // the latest first
};

/// The rows of one target on their way to the server; reused for the next target, whatever its feature set.
class WriteBuffers {
 public:
  /// Takes the shape of a target with so many columns for each of its inputs.
  void shape(std::size_t inputs, std::size_t columns, const pg::TupleLayout& layout, std::size_t send_rows);

  [[nodiscard]] std::vector<fit::ColumnBlock>& blocks() noexcept { return blocks_; }  ///< by input of the target
  [[nodiscard]] pg::TupleEncoder& encoder() noexcept { return *encoder_; }
  [[nodiscard]] std::size_t block_rows() const noexcept { return block_rows_; }
  [[nodiscard]] std::size_t encoder_rows() const noexcept { return encoder_rows_; }

 private:
  std::vector<fit::ColumnBlock> blocks_;
  std::optional<pg::TupleEncoder> encoder_;
  std::size_t block_rows_ = 0, encoder_rows_ = 0;
};

}  // namespace regfeatd::populate
