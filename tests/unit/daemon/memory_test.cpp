// The division of memory_budget, and the admission of partitions to it.
#include "daemon/memory.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace regfeatd::daemon {
namespace {

constexpr std::uint64_t kMiB = 1u << 20;

TEST(MemoryPlan, WhatIsHandedOutNeverExceedsTheBudget) {
  for (const std::uint64_t budget : {64 * kMiB, 100 * kMiB, 1024 * kMiB, 64 * 1024 * kMiB}) {
    for (const int wanted : {0, 1, 2, 4, 7, 64, 1024}) {
      const MemoryPlan plan = plan_memory(budget, wanted);
      EXPECT_LE(plan.workers, wanted);
      EXPECT_EQ(plan.reason.empty(), plan.workers == wanted) << plan.reason;
      const std::uint64_t used =
          24 * kMiB + static_cast<std::uint64_t>(plan.workers) * (12 * kMiB + plan.share_bytes) + plan.common_bytes;
      EXPECT_LE(used, budget) << budget << ' ' << wanted;
    }
  }
  EXPECT_EQ(plan_memory(64 * kMiB, 8).workers, 2);
  EXPECT_EQ(plan_memory(1024 * kMiB, 8).workers, 8);
}

TEST(MemoryPool, GivesWhatIsLeftOrTheShare) {
  MemoryPool pool;
  pool.configure({4, 100, 300, ""});
  const auto small = pool.reserve(10);
  EXPECT_EQ(small.bytes(), 100u);
  {
    const auto large = pool.reserve(350);
    EXPECT_EQ(large.bytes(), 350u);
    EXPECT_EQ(pool.reserve(151).bytes(), 100u) << "50 are left: the rest goes to disk";
    const auto fits = pool.reserve(150);
    EXPECT_EQ(fits.bytes(), 150u);
    EXPECT_EQ(pool.reserve(101).bytes(), 100u);
  }
  EXPECT_EQ(pool.reserve(400).bytes(), 400u) << "given back";
  EXPECT_EQ(pool.reserve(1'000'000'000).bytes(), 100u);
}

TEST(MemoryPool, AReservationGoesBackOnce) {
  MemoryPool pool;
  pool.configure({2, 100, 100, ""});
  {
    auto a = pool.reserve(200);
    MemoryPool::Reservation b = std::move(a);
    MemoryPool::Reservation c;
    c = std::move(b);
    EXPECT_EQ(c.bytes(), 200u);
    EXPECT_EQ(pool.reserve(200).bytes(), 100u);
  }
  EXPECT_EQ(pool.reserve(200).bytes(), 200u);
  // A smaller budget while a reservation is out: nothing is left until it is back.
  auto out = pool.reserve(200);
  pool.configure({2, 100, 50, ""});
  EXPECT_EQ(pool.reserve(110).bytes(), 100u);
  out = {};
  EXPECT_EQ(pool.reserve(110).bytes(), 110u) << "given back";
}

}  // namespace
}  // namespace regfeatd::daemon
