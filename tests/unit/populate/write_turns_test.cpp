#include "regfeatd/populate/write_turns.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "regfeatd/base/fault.hpp"

namespace regfeatd::populate {
namespace {

using namespace std::chrono_literals;

TEST(WriteTurns, WithoutALimitThereIsAlwaysOne) {
  WriteTurns turns;
  std::vector<WriteTurns::Turn> taken;
  for (int i = 0; i < 100; ++i) {
    auto turn = turns.try_take();
    ASSERT_TRUE(turn);
    taken.push_back(std::move(*turn));
  }
}

TEST(WriteTurns, AsManyAsTheLimitAndAgainWhenOneIsGivenBack) {
  WriteTurns turns(2);
  auto a = turns.try_take(), b = turns.try_take();
  ASSERT_TRUE(a && b);
  EXPECT_FALSE(turns.try_take());
  a->give_back();
  a->give_back();  // counts once
  auto c = turns.try_take();
  ASSERT_TRUE(c);
  EXPECT_FALSE(turns.try_take());
  b.reset();
  EXPECT_TRUE(turns.try_take());  // and gives it back at once
  WriteTurns::Turn moved = std::move(*c);
  c.reset();
  auto d = turns.try_take();
  ASSERT_TRUE(d);
  EXPECT_FALSE(turns.try_take()) << "the one that was moved is still out";
}

TEST(WriteTurns, FirstComeFirstServedAndNobodyPushesIn) {
  WriteTurns turns(1);
  auto held = turns.try_take();
  ASSERT_TRUE(held);
  std::vector<int> order;  // written by whoever has the turn
  std::atomic<int> waiting{0};
  std::vector<std::jthread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      ++waiting;
      const auto turn = turns.take({});
      order.push_back(i);
    });
    while (waiting.load() <= i) std::this_thread::yield();
    std::this_thread::sleep_for(20ms);  // it is in the queue before the next one comes
  }
  held->give_back();
  threads.clear();
  EXPECT_EQ(order, (std::vector<int>{0, 1, 2, 3}));
  EXPECT_TRUE(turns.try_take());
}

TEST(WriteTurns, AStopEndsTheWaitAndLeavesTheQueueInOrder) {
  WriteTurns turns(1);
  auto held = turns.try_take();
  std::stop_source stop;
  bool stopped = false;
  std::jthread gives_up([&] {
    try {
      (void)turns.take(stop.get_token());
    } catch (const Fault& e) {
      stopped = e.fault_class() == FaultClass::transient && e.sqlstate() == "57014";
    }
  });
  std::jthread stays([&] { (void)turns.take({}); });
  stop.request_stop();
  gives_up.join();
  EXPECT_TRUE(stopped);
  held->give_back();
  stays.join();
  EXPECT_TRUE(turns.try_take());
}

TEST(WriteTurns, AHigherLimitLetsThoseInThatWait) {
  WriteTurns turns(1);
  auto held = turns.try_take();
  std::jthread waits([&] { (void)turns.take({}); });
  turns.set_limit(2);
  waits.join();
  turns.set_limit(1);
  EXPECT_FALSE(turns.try_take()) << "the first is still out";
  turns.set_limit(std::nullopt);
  EXPECT_TRUE(turns.try_take());
}

}  // namespace
}  // namespace regfeatd::populate
