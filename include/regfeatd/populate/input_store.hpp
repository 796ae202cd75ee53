#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "regfeatd/populate/source.hpp"

namespace regfeatd::populate {

/// The input rows of one partition within a bound of memory: whole where they fit, otherwise in chunks on
/// disk, each of which holds the look-back that its first rows need. A chunk is computed like a partition of
/// its own, so results do not depend on where the cuts are. Buffers keep their capacity from one partition to
/// the next. Not thread-safe.
///
/// The file is one without a name in $TMPDIR, else /var/tmp, about as large as the input (24 bytes a row for
/// two inputs); it is emptied after the partition and gone with the process.
class InputStore {
 public:
  InputStore() = default;
  ~InputStore();
  InputStore(const InputStore&) = delete;
  InputStore& operator=(const InputStore&) = delete;

  /// Makes the store empty for a partition with `inputs` inputs, `limit_bytes` being the most that it may
  /// hold in memory.
  void clear(std::size_t inputs, std::size_t limit_bytes);

  /// The chunk in hand: what is read goes here.
  [[nodiscard]] InputRows& rows() noexcept { return rows_; }
  /// Room for one more row in the chunk in hand, growing it within the limit.
  void make_room();
  /// Whether the chunk in hand has reached the limit, and `spill` must come before the next row.
  [[nodiscard]] bool full() const noexcept;
  /// Whether so much is there that a cut between two keys, which needs no look-back, is worth while.
  [[nodiscard]] bool nearly_full() const noexcept;
  /// Puts the chunk in hand on disk. Its last segment goes on in the next, with the rows from `carry` on as
  /// look-back. Throws Fault (partition) when the disk does not take it.
  void spill(std::size_t carry);
  /// Takes the last segment out of the chunk that was spilled `back` chunks ago (1: the latest): its key is
  /// unusable. Returns how many output rows it had.
  std::int64_t drop_last_segment(std::size_t back);
  /// After the last row.
  void finish();

  /// Calls `f` with every chunk in turn; the rows are valid during the call only.
  void for_each(const std::function<void(const InputRows&)>& f);
  [[nodiscard]] std::size_t chunks() const noexcept { return chunks_.empty() ? 1 : chunks_.size(); }
  [[nodiscard]] std::int64_t output_rows() const noexcept;
  [[nodiscard]] const std::vector<BadKey>& bad_keys() const noexcept { return rows_.bad_keys; }

  /// Gives back the disk, and memory beyond `keep_bytes`.
  void release(std::size_t keep_bytes) noexcept;

  /// What a row of a partition takes in memory while it is computed.
  [[nodiscard]] static std::size_t row_bytes(std::size_t inputs, bool keyed) noexcept;

 private:
  struct Chunk {
    std::int64_t at = 0;  ///< position in the file
    std::size_t rows = 0, key_bytes = 0, segments = 0;
    std::int64_t output_rows = 0, last_output_rows = 0;
    bool last_dropped = false;
  };
  void write_chunk();
  void load(const Chunk& chunk);
  void keep_carry(std::size_t carry);
  template <class T>
  void put(const std::vector<T>& items);
  template <class T>
  void get(std::vector<T>& items, std::size_t count, std::int64_t& at) const;

  InputRows rows_;
  std::vector<Chunk> chunks_;
  std::size_t limit_bytes_ = 0;
  int file_ = -1;
  std::int64_t file_end_ = 0;
};

}  // namespace regfeatd::populate
