#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <stop_token>
#include <utility>

#include "regfeatd/base/mutex.hpp"

namespace regfeatd::populate {

/// Bounds how many runs send rows at a time; the others read ahead meanwhile, build keys or commit. First come, first
/// served. Thread-safe.
class WriteTurns {
 public:
  /// The right to send rows; given back with the object.
  class Turn {
   public:
    Turn() = default;
    explicit Turn(WriteTurns& turns) : turns_(&turns) {}
    Turn(Turn&& other) noexcept : turns_(std::exchange(other.turns_, nullptr)) {}
    Turn& operator=(Turn&& other) noexcept {
      std::swap(turns_, other.turns_);
      return *this;
    }
    ~Turn() { give_back(); }
    void give_back() noexcept {
      if (auto* const turns = std::exchange(turns_, nullptr)) turns->give_back();
    }

   private:
    WriteTurns* turns_ = nullptr;
  };

  /// `limit`: of turns at a time; absent: any number. Turns that are out stay out.
  explicit WriteTurns(std::optional<int> limit = std::nullopt) : limit_(limit) {}
  void set_limit(std::optional<int> limit);

  /// A turn, if it need not be waited for.
  [[nodiscard]] std::optional<Turn> try_take();
  /// Waits for a turn. Throws Fault (transient) when `stop` is requested.
  [[nodiscard]] Turn take(const std::stop_token& stop);

 private:
  [[nodiscard]] bool free() const REGFEATD_REQUIRES(mutex_) { return !limit_ || taken_ < *limit_; }
  void give_back() noexcept;

  Mutex mutex_;
  ConditionVariable changed_;
  std::optional<int> limit_ REGFEATD_GUARDED_BY(mutex_);
  int taken_ REGFEATD_GUARDED_BY(mutex_) = 0;
  std::uint64_t next_ticket_ REGFEATD_GUARDED_BY(mutex_) = 0;
  std::deque<std::uint64_t> waiting_ REGFEATD_GUARDED_BY(mutex_);  ///< tickets
};

}  // namespace regfeatd::populate
