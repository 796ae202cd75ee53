#include "regfeatd/populate/input_store.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string>

#include "regfeatd/base/fault.hpp"
#include "regfeatd/base/quantity.hpp"

namespace regfeatd::populate {
namespace {

std::string spool_folder() {
  const char* given = std::getenv("TMPDIR");
  return given != nullptr && *given != '\0' ? given : "/var/tmp";
}

[[noreturn]] void throw_file_fault(const char* what, int error) {
  throw Fault(FaultClass::partition,
              fmt::format("the partition's input is larger than this worker's share of memory_budget, and a "
                          "temporary file in {} cannot be {}: {}; make room "
                          "there, set TMPDIR to a larger file system or raise memory_budget",
                          spool_folder(), what, std::strerror(error)));
}

int open_spool() {
  const std::string folder = spool_folder();
  int file = open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (file < 0 &&
      (errno == EOPNOTSUPP || errno == EISDIR || errno == ENOENT)) {  // a file system without nameless files
    std::string name = folder + "/regfeatd-XXXXXX";
    file = mkostemp(name.data(), O_CLOEXEC);
    if (file >= 0) unlink(name.c_str());
  }
  if (file < 0) throw_file_fault("made", errno);
  return file;
}

std::int64_t output_rows_of(const Segment& s) { return static_cast<std::int64_t>(s.end - s.output); }

template <class T>
void erase_front(std::vector<T>& v, std::size_t count) {
  std::copy(v.begin() + static_cast<std::ptrdiff_t>(count), v.end(), v.begin());
  v.resize(v.size() - count);
}

template <class T>
void free_memory(std::vector<T>& v) {
  v.clear();
  v.shrink_to_fit();
}

}  // namespace

InputStore::~InputStore() {
  if (file_ >= 0) close(file_);
}

std::size_t InputStore::row_bytes(std::size_t inputs, bool keyed) noexcept {
  constexpr std::size_t kNullAccount = 2 * sizeof(std::int64_t);  // fit::predict_nulls
  return sizeof(OrderValue) + inputs * sizeof(double) + (keyed ? sizeof(std::size_t) : 0) + kNullAccount;
}

void InputStore::clear(std::size_t inputs, std::size_t limit_bytes) {
  rows_.clear(inputs);
  chunks_.clear();
  file_end_ = 0;
  limit_bytes_ = limit_bytes;
}

void InputStore::make_room() {
  const std::size_t rows = rows_.order.size();
  if (rows < rows_.order.capacity()) return;
  const std::size_t most = limit_bytes_ / row_bytes(rows_.values.size(), !rows_.key_ends.empty()) + 1;
  const std::size_t wanted = std::max(rows + 1, std::min(std::max<std::size_t>(2 * rows, 4096), most));
  rows_.order.reserve(wanted);
  for (auto& v : rows_.values) v.reserve(wanted);
}

bool InputStore::full() const noexcept {
  // Key bytes grow by doubling.
  return rows_.rows() * row_bytes(rows_.values.size(), !rows_.key_ends.empty()) + 2 * rows_.key_bytes.size() +
             2 * sizeof(Segment) * rows_.segments.size() >=
         limit_bytes_;
}

bool InputStore::nearly_full() const noexcept {
  return 4 * (rows_.rows() * row_bytes(rows_.values.size(), true) + 2 * rows_.key_bytes.size() +
              2 * sizeof(Segment) * rows_.segments.size()) >=
         3 * limit_bytes_;
}

template <class T>
void InputStore::put(const std::vector<T>& items) {
  const auto* data = reinterpret_cast<const char*>(items.data());
  for (std::size_t left = items.size() * sizeof(T); left > 0;) {
    const ssize_t written = pwrite(file_, data, left, file_end_);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) throw_file_fault("written", written < 0 ? errno : ENOSPC);
    data += written;
    left -= static_cast<std::size_t>(written);
    file_end_ += written;
  }
}

template <class T>
void InputStore::get(std::vector<T>& items, std::size_t count, std::int64_t& at) const {
  items.resize(count);
  auto* data = reinterpret_cast<char*>(items.data());
  for (std::size_t left = count * sizeof(T); left > 0;) {
    const ssize_t got = pread(file_, data, left, at);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) throw_file_fault("read", got < 0 ? errno : EIO);
    data += got;
    left -= static_cast<std::size_t>(got);
    at += got;
  }
}

void InputStore::write_chunk() {
  if (file_ < 0) file_ = open_spool();
  Chunk chunk;
  chunk.at = file_end_;
  chunk.rows = rows_.rows();
  chunk.key_bytes = rows_.key_bytes.size();
  chunk.segments = rows_.segments.size();
  for (const Segment& s : rows_.segments) chunk.output_rows += output_rows_of(s);
  if (!rows_.segments.empty()) chunk.last_output_rows = output_rows_of(rows_.segments.back());
  put(rows_.order);
  for (const auto& v : rows_.values) put(v);
  put(rows_.key_bytes);
  put(rows_.key_ends);
  put(rows_.segments);
  chunks_.push_back(chunk);
}

/// Leaves in memory the rows from `carry` on, as look-back of the segment that goes on.
void InputStore::keep_carry(std::size_t carry) {
  const Segment last = rows_.segments.back();
  const std::size_t carried = rows_.rows() - carry;
  erase_front(rows_.order, carry);
  for (auto& v : rows_.values) erase_front(v, carry);
  if (!rows_.key_ends.empty()) {
    const std::size_t bytes = carry == 0 ? 0 : rows_.key_ends[carry - 1];
    erase_front(rows_.key_bytes, bytes);
    erase_front(rows_.key_ends, carry);
    for (std::size_t& end : rows_.key_ends) end -= bytes;
  }
  rows_.segments.clear();
  rows_.segments.push_back({0, carried, carried, carried, last.number + output_rows_of(last)});
}

void InputStore::spill(std::size_t carry) {
  write_chunk();
  keep_carry(carry);
}

std::int64_t InputStore::drop_last_segment(std::size_t back) {
  Chunk& chunk = chunks_[chunks_.size() - back];
  chunk.last_dropped = true;
  chunk.output_rows -= chunk.last_output_rows;
  return chunk.last_output_rows;
}

void InputStore::finish() {
  if (!chunks_.empty()) write_chunk();
}

void InputStore::load(const Chunk& chunk) {
  std::int64_t at = chunk.at;
  get(rows_.order, chunk.rows, at);
  for (auto& v : rows_.values) get(v, chunk.rows, at);
  get(rows_.key_bytes, chunk.key_bytes, at);
  get(rows_.key_ends, chunk.key_bytes == 0 ? 0 : chunk.rows, at);
  get(rows_.segments, chunk.segments, at);
  if (chunk.last_dropped) rows_.segments.pop_back();
}

void InputStore::for_each(const std::function<void(const InputRows&)>& f) {
  if (chunks_.empty()) return f(rows_);
  for (const Chunk& chunk : chunks_) {
    load(chunk);
    f(rows_);
  }
}

std::int64_t InputStore::output_rows() const noexcept {
  if (chunks_.empty()) return static_cast<std::int64_t>(rows_.output_rows());
  std::int64_t n = 0;
  for (const Chunk& chunk : chunks_) n += chunk.output_rows;
  return n;
}

void InputStore::release(std::size_t keep_bytes) noexcept {
  if (file_ >= 0 && !chunks_.empty() && ftruncate(file_, 0) != 0) {  // then with the process
    close(file_);
    file_ = -1;
  }
  chunks_.clear();
  file_end_ = 0;
  if (rows_.bytes() <= keep_bytes) return;
  free_memory(rows_.order);
  for (auto& v : rows_.values) free_memory(v);
  free_memory(rows_.key_bytes);
  free_memory(rows_.key_ends);
  free_memory(rows_.segments);
}

}  // namespace regfeatd::populate
