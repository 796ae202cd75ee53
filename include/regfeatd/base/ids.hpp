#pragma once

#include <compare>
#include <cstdint>
#include <functional>

namespace regfeatd {

/// An integer that cannot be confused with another one. `Tag` only names the kind.
template <class Tag>
struct Id {
  std::int64_t value = 0;
  friend constexpr auto operator<=>(const Id&, const Id&) = default;
};

using FeatureSetId = Id<struct FeatureSetTag>;
using PartitionId = Id<struct PartitionTag>;
using AttemptId = Id<struct AttemptTag>;
using DaemonId = Id<struct DaemonTag>;
/// The fencing number of a partition: it grows at every claim, requeue and cancel.
using Epoch = Id<struct EpochTag>;

}  // namespace regfeatd
