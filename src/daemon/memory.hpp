#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "regfeatd/base/mutex.hpp"

namespace regfeatd::daemon {

/// How memory_budget is divided: the process, each worker's buffers and connection, each worker's share for
/// input rows, and a pot from which one worker takes what a larger partition needs beyond its share.
struct MemoryPlan {
  int workers = 0;              ///< what was wanted, or fewer where the budget does not carry so many
  std::size_t share_bytes = 0;  ///< for each worker's input rows, at any time
  std::size_t common_bytes = 0;
  std::string reason;  ///< why there are fewer workers; empty: there are not
};
[[nodiscard]] MemoryPlan plan_memory(std::uint64_t budget_bytes, int wanted_workers);

/// Admits partitions to memory before they are read. Never waits: a partition that does not fit into what is
/// left gets its worker's share, and the rest of it goes to disk. Thread-safe.
class MemoryPool {
 public:
  /// Bytes granted to a partition; given back with the object.
  class Reservation {
   public:
    Reservation() = default;
    Reservation(MemoryPool& pool, std::size_t bytes, std::size_t from_common)
        : pool_(&pool), bytes_(bytes), from_common_(from_common) {}
    Reservation(Reservation&& other) noexcept { swap(other); }
    Reservation& operator=(Reservation&& other) noexcept {
      swap(other);
      return *this;
    }
    ~Reservation() {
      if (pool_ != nullptr) pool_->give_back(from_common_);
    }
    [[nodiscard]] std::size_t bytes() const noexcept { return bytes_; }

   private:
    void swap(Reservation& other) noexcept {
      std::swap(pool_, other.pool_);
      std::swap(bytes_, other.bytes_);
      std::swap(from_common_, other.from_common_);
    }
    MemoryPool* pool_ = nullptr;
    std::size_t bytes_ = 0, from_common_ = 0;
  };

  /// Takes effect for reservations made from now on.
  void configure(const MemoryPlan& plan);
  [[nodiscard]] Reservation reserve(std::size_t wanted_bytes);
  [[nodiscard]] std::size_t share_bytes();

 private:
  void give_back(std::size_t from_common);

  Mutex mutex_;
  std::size_t share_bytes_ REGFEATD_GUARDED_BY(mutex_) = 4u << 20;
  std::size_t common_bytes_ REGFEATD_GUARDED_BY(mutex_) = 0;
  std::size_t common_taken_ REGFEATD_GUARDED_BY(mutex_) = 0;
};

}  // namespace regfeatd::daemon
