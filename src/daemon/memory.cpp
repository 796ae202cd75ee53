#include "memory.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "regfeatd/base/quantity.hpp"

namespace regfeatd::daemon {
namespace {

constexpr std::uint64_t kProcessBytes = 24u << 20;  // program, libraries, heap
// Column blocks, encoded rows, what is known of feature sets (bounded in populate/prepared.hpp); connection, stack.
constexpr std::uint64_t kWorkerBytes = 12u << 20;
constexpr std::uint64_t kLeastShareBytes = 4u << 20;

}  // namespace

MemoryPlan plan_memory(std::uint64_t budget_bytes, int wanted_workers) {
  MemoryPlan plan;
  const std::uint64_t for_workers = budget_bytes - std::min(budget_bytes, kProcessBytes);
  const auto carried = static_cast<int>(
      std::max<std::uint64_t>(1, std::min<std::uint64_t>(for_workers / (kWorkerBytes + kLeastShareBytes), 1024)));
  plan.workers = std::min(wanted_workers, carried);
  if (plan.workers < wanted_workers) {
    plan.reason = fmt::format("{} of {} workers: memory_budget {} holds {} for the process and {} for each worker",
                              plan.workers, wanted_workers, format_bytes(static_cast<double>(budget_bytes)),
                              format_bytes(static_cast<double>(kProcessBytes)),
                              format_bytes(static_cast<double>(kWorkerBytes + kLeastShareBytes)));
  }
  const auto workers = static_cast<std::uint64_t>(std::max(1, plan.workers));
  const std::uint64_t rows =
      std::max(for_workers - std::min(for_workers, kWorkerBytes * workers), kLeastShareBytes * workers);
  // Half of it in equal shares, so that no worker ever waits for memory; half for whoever needs more.
  plan.share_bytes = static_cast<std::size_t>(std::max(rows / (2 * workers), kLeastShareBytes));
  plan.common_bytes = static_cast<std::size_t>(rows - std::min(rows, plan.share_bytes * workers));
  return plan;
}

void MemoryPool::configure(const MemoryPlan& plan) {
  const MutexLock lock(mutex_);
  share_bytes_ = plan.share_bytes;
  common_bytes_ = plan.common_bytes;
}

std::size_t MemoryPool::share_bytes() {
  const MutexLock lock(mutex_);
  return share_bytes_;
}

MemoryPool::Reservation MemoryPool::reserve(std::size_t wanted_bytes) {
  const MutexLock lock(mutex_);
  const std::size_t beyond = wanted_bytes - std::min(wanted_bytes, share_bytes_);
  const std::size_t left = common_bytes_ - std::min(common_bytes_, common_taken_);
  const std::size_t taken = beyond <= left ? beyond : 0;  // in part it would only make the chunks larger
  common_taken_ += taken;
  return {*this, share_bytes_ + taken, taken};
}

void MemoryPool::give_back(std::size_t from_common) {
  const MutexLock lock(mutex_);
  common_taken_ -= from_common;
}

}  // namespace regfeatd::daemon
