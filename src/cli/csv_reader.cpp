#include "csv_reader.hpp"

#include <algorithm>
#include <cassert>
#include <cstring>

namespace regfeatd::cli {
namespace {

constexpr std::size_t kReadBytes = std::size_t{256} << 10;
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

const char* find(const char* from, const char* end, char c) noexcept {
  return static_cast<const char*>(std::memchr(from, c, static_cast<std::size_t>(end - from)));
}

}  // namespace

std::string_view field_value(const Field& field, std::string& scratch) {
  if (!field.quoted) return field.raw;
  const std::string_view inner = field.raw.substr(1, field.raw.size() - 2);
  if (inner.find('"') == std::string_view::npos) return inner;
  scratch.clear();
  for (std::size_t i = 0; i < inner.size(); ++i) {
    scratch += inner[i];
    if (inner[i] == '"') ++i;  // the second one of a pair
  }
  return scratch;
}

// -- RecordReader

bool RecordReader::at_line_end(const char* p) const noexcept {
  if (p == end_ || *p == '\n') return true;
  return *p == '\r' && (p + 1 == end_ || p[1] == '\n');
}

bool RecordReader::skip_line_end() noexcept {
  if (pos_ == end_) return false;
  if (*pos_ == '\r') ++pos_;
  if (pos_ != end_) ++pos_;
  ++next_line_;
  return true;
}

bool RecordReader::next(std::vector<Field>& fields) {
  fields.clear();
  while (pos_ != end_ && at_line_end(pos_)) (void)skip_line_end();
  line_ = next_line_;
  if (pos_ == end_) return false;
  for (;;) {
    fields.push_back(pos_ != end_ && *pos_ == '"' ? take_quoted() : take_plain());
    if (at_line_end(pos_)) break;
    ++pos_;  // the comma
  }
  (void)skip_line_end();
  return true;
}

Field RecordReader::take_quoted() {
  const char* const first = pos_;
  const char* p = pos_ + 1;
  for (;;) {
    const char* const quote = find(p, end_, '"');
    if (quote == nullptr) throw CsvError(line_, "a quoted field is not closed");
    next_line_ += std::count(p, quote, '\n');
    p = quote + 1;
    if (p == end_ || *p != '"') break;
    ++p;
  }
  if (!at_line_end(p) && *p != ',') throw CsvError(line_, "text after the closing quote of a field");
  pos_ = p;
  return {{first, static_cast<std::size_t>(p - first)}, true};
}

Field RecordReader::take_plain() {
  const char* p = pos_;
  while (p != end_ && *p != ',' && *p != '\n' && *p != '"') ++p;
  if (p != end_ && *p == '"') throw CsvError(line_, "a quote inside a field that does not start with one");
  if ((p == end_ || *p == '\n') && p != pos_ && p[-1] == '\r') --p;
  const Field field{{pos_, static_cast<std::size_t>(p - pos_)}, false};
  pos_ = p;
  return field;
}

// -- BlockReader

bool BlockReader::block_is_full(Limits limits) const noexcept {
  return rows_ >= limits.max_rows || boundary_ >= limits.max_bytes;
}

/// Moves on to the next record end, one after another, until the block is full or the bytes are used up.
void BlockReader::scan(Limits limits) {
  const char* const base = buffer_.data() + begin_;
  const char* const end = buffer_.data() + buffer_.size();
  const char* p = base + scanned_;
  const char* quote = find(p, end, '"');
  while (p != end && !block_is_full(limits)) {
    if (in_quotes_) {
      const char* const stop = quote == nullptr ? end : quote;
      open_lines_ += std::count(p, stop, '\n');
      p = stop;
      if (quote == nullptr) break;
      in_quotes_ = false;
      quote = find(++p, end, '"');
      continue;
    }
    const char* const stop = quote == nullptr ? end : quote;
    const char* const line_end = find(p, stop, '\n');
    if (line_end != nullptr) {
      p = line_end + 1;
      boundary_ = static_cast<std::size_t>(p - base);
      lines_ += open_lines_ + 1;
      open_lines_ = 0;
      ++rows_;
    } else {
      p = stop;
      if (quote == nullptr) break;
      in_quotes_ = true;
      quote = find(++p, end, '"');
    }
  }
  scanned_ = static_cast<std::size_t>(p - base);
}

void BlockReader::fill() {
  if (begin_ > 0 && begin_ >= buffer_.size() / 2) {
    buffer_.erase(0, begin_);
    begin_ = 0;
  }
  const std::size_t size = buffer_.size();
  buffer_.resize(size + kReadBytes);
  std::size_t got = 0;
  try {
    got = source_.read(buffer_.data() + size, kReadBytes);
  } catch (...) {
    buffer_.resize(size);
    throw;
  }
  assert(got <= kReadBytes);
  buffer_.resize(size + got);
  ended_ = got == 0;
  if (!started_ && (buffer_.size() >= kByteOrderMark.size() || ended_)) {
    started_ = true;
    if (buffer_.starts_with(kByteOrderMark)) begin_ = kByteOrderMark.size();
  }
}

void BlockReader::hand_out(CsvBlock& block, std::size_t size) {
  block.bytes.assign(buffer_, begin_, size);
  block.first_line = next_line_;
  next_line_ += lines_;
  begin_ += size;
  bytes_done_ += size;
  scanned_ -= std::min(scanned_, size);
  boundary_ = 0;
  rows_ = 0;
  lines_ = 0;
}

BlockReader::Result BlockReader::next(CsvBlock& block, Limits limits, Mode mode) {
  for (;;) {
    if (started_) scan(limits);
    if (block_is_full(limits)) break;
    if (ended_) {
      boundary_ = buffer_.size() - begin_;  // the last record may lack its line end
      if (boundary_ == 0) return Result::end;
      break;
    }
    if (buffer_.size() - begin_ - boundary_ > kMaxRecordBytes) {
      if (boundary_ > 0) break;  // what is whole first
      throw CsvError(next_line_, "a record is longer than 16 MiB: is a quote left open?");
    }
    if (!source_.ready()) {
      if (mode == Mode::try_only) return Result::not_ready;
      if (boundary_ > 0) break;
    }
    fill();
  }
  hand_out(block, boundary_);
  return Result::block;
}

}  // namespace regfeatd::cli
