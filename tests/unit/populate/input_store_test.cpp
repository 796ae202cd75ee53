// Chunks on disk: what comes back is what went in, wherever the cuts are.
#include "regfeatd/populate/input_store.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <random>
#include <string>

#include "regfeatd/base/fault.hpp"

namespace regfeatd::populate {
namespace {

std::vector<std::byte> key_of(int k) {
  return std::vector<std::byte>(static_cast<std::size_t>(4 + k % 3), std::byte(k));
}

/// A row as it should come back, and whether it is the first time (not look-back of a chunk).
struct Row {
  int key;
  OrderValue order;
  double value;
  friend bool operator==(const Row&, const Row&) = default;
};

/// Fills a store as a reader does: `keys` keys of up to `most` rows, cutting at random, each cut with `carry`
/// rows of look-back.
std::vector<Row> fill(InputStore& store, int keys, int most, std::size_t carry, std::mt19937& random, bool keyed) {
  std::vector<Row> all;
  for (int k = 0; k < keys; ++k) {
    InputRows& rows = store.rows();
    rows.segments.push_back({rows.rows(), rows.rows(), rows.rows()});
    const int count = 1 + static_cast<int>(random() % static_cast<unsigned>(most));
    for (int i = 0; i < count; ++i) {
      if (random() % 37 == 0) {
        const std::size_t have = rows.rows() - rows.segments.back().begin;
        store.spill(rows.rows() - std::min(carry, have));
      }
      store.make_room();
      const Row row{k, i, k * 1000.0 + i};
      rows.order.push_back(row.order);
      rows.values[0].push_back(row.value);
      rows.values[1].push_back(-row.value);
      if (keyed) {
        const auto key = key_of(k);
        rows.key_bytes.insert(rows.key_bytes.end(), key.begin(), key.end());
        rows.key_ends.push_back(rows.key_bytes.size());
      }
      rows.segments.back().end = rows.rows();
      if (i < 3) rows.segments.back().output = rows.rows();  // the partition's own look-back
      all.push_back(row);
    }
  }
  store.finish();
  return all;
}

class Chunked : public testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(InputStore, Chunked, testing::Bool(),
                         [](const auto& p) { return p.param ? "keyed" : "unkeyed"; });

TEST_P(Chunked, EveryRowComesBackOnceWithItsLookback) {
  const bool keyed = GetParam();
  std::mt19937 random(7);
  InputStore store;
  for (int round = 0; round < 40; ++round) {  // the store is reused, as by a worker
    store.clear(2, 1u << 20);
    const std::size_t carry = 2 + static_cast<std::size_t>(round % 5);
    const auto all = fill(store, keyed ? 12 : 1, 100, carry, random, keyed);
    for (int pass = 0; pass < 2; ++pass) {  // once for each target
      std::vector<Row> back;
      std::int64_t outputs = 0;
      store.for_each([&](const InputRows& rows) {
        for (const Segment& s : rows.segments) {
          ASSERT_LE(s.begin + s.carried, s.end);
          ASSERT_LE(s.carried, carry);
          for (std::size_t r = s.begin; r < s.end; ++r) {
            const int key = static_cast<int>(rows.values[0][r]) / 1000;
            if (keyed) {
              ASSERT_TRUE(std::ranges::equal(rows.key(r), key_of(key)));
            }
            ASSERT_EQ(rows.values[1][r], -rows.values[0][r]);
            if (r >= s.begin + s.carried) back.push_back({key, rows.order[r], rows.values[0][r]});
            if (r < s.output) continue;
            ++outputs;
            // Row numbers count the key's output rows across chunks: its first three are look-back.
            ASSERT_EQ(s.number + static_cast<std::int64_t>(r - s.output), rows.order[r] - 3);
          }
        }
      });
      EXPECT_EQ(back, all) << round;
      EXPECT_EQ(outputs, store.output_rows());
    }
    store.release(round % 2 == 0 ? 0 : 1u << 30);
  }
}

TEST(InputStore, AKeyIsTakenOutOfTheChunksItWasCutInto) {
  InputStore store;
  store.clear(1, 1u << 20);
  InputRows& rows = store.rows();
  const auto add = [&](OrderValue order) {
    rows.order.push_back(order);
    rows.values[0].push_back(0);
    rows.segments.back().end = rows.rows();
  };
  rows.segments.push_back({});
  for (int i = 0; i < 5; ++i) add(i);
  rows.segments.push_back({5, 5, 5});
  for (int i = 10; i < 14; ++i) add(i);
  store.spill(rows.rows() - 2);
  add(14);
  store.spill(rows.rows() - 2);
  add(15);
  EXPECT_EQ(store.drop_last_segment(1) + store.drop_last_segment(2), 5);
  rows.segments.pop_back();
  rows.order.clear();
  rows.values[0].clear();
  store.finish();
  std::vector<OrderValue> left;
  store.for_each([&](const InputRows& chunk) {
    for (const Segment& s : chunk.segments)
      left.insert(left.end(), chunk.order.begin() + static_cast<std::ptrdiff_t>(s.output),
                  chunk.order.begin() + static_cast<std::ptrdiff_t>(s.end));
  });
  EXPECT_EQ(left, (std::vector<OrderValue>{0, 1, 2, 3, 4}));
  EXPECT_EQ(store.output_rows(), 5);
}

TEST(InputStore, StaysBelowItsLimit) {
  InputStore store;
  constexpr std::size_t kLimit = 100'000;
  store.clear(2, kLimit);
  InputRows& rows = store.rows();
  rows.segments.push_back({});
  for (int i = 0; i < 50'000; ++i) {
    if (store.full()) store.spill(rows.rows() - 2);
    store.make_room();
    rows.order.push_back(i);
    for (auto& v : rows.values) v.push_back(i);
    rows.segments.back().end = rows.rows();
    ASSERT_LE(rows.bytes(), kLimit);
  }
  EXPECT_GT(store.chunks(), 10u);
}

TEST(InputStore, AFolderThatIsNotThereIsNamed) {
  setenv("TMPDIR", "/nowhere/at all", 1);
  InputStore store;
  store.clear(1, 1000);
  store.rows().segments.push_back({});
  try {
    store.spill(0);
    ADD_FAILURE() << "expected a fault";
  } catch (const Fault& e) {
    EXPECT_EQ(e.fault_class(), FaultClass::partition);
    EXPECT_NE(std::string(e.what()).find("a temporary file in /nowhere/at all cannot be made"), std::string::npos)
        << e.what();
  }
  unsetenv("TMPDIR");
}

}  // namespace
}  // namespace regfeatd::populate
