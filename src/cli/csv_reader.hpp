#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace regfeatd::cli {

/// Input that is not CSV as RFC 4180 has it. `line()` is the physical line (from 1) on which the record starts.
class CsvError : public std::runtime_error {
 public:
  CsvError(std::int64_t line, const std::string& message) : std::runtime_error(message), line_(line) {}
  [[nodiscard]] std::int64_t line() const noexcept { return line_; }

 private:
  std::int64_t line_;
};

/// One field, a view into the bytes it was read from. `raw` is what stands there, quotes included.
struct Field {
  std::string_view raw;
  bool quoted = false;
};

/// The value of a field: `raw` itself, or its text without quotes, in `scratch` where quotes were doubled. Valid as long as
/// both are left alone.
[[nodiscard]] std::string_view field_value(const Field& field, std::string& scratch);

/// Splits whole records into fields. Lines end with LF or CRLF, the last one also with the end of the bytes; empty
/// lines are skipped. Quotes may stand only around a whole field. Borrows the bytes.
class RecordReader {
 public:
  explicit RecordReader(std::string_view bytes, std::int64_t first_line = 1)
      : pos_(bytes.data()), end_(bytes.data() + bytes.size()), next_line_(first_line) {}

  /// Replaces `fields` with the next record; false at the end. Throws CsvError.
  [[nodiscard]] bool next(std::vector<Field>& fields);
  /// The line on which the record last read starts.
  [[nodiscard]] std::int64_t line() const noexcept { return line_; }

 private:
  bool skip_line_end() noexcept;
  [[nodiscard]] bool at_line_end(const char* p) const noexcept;
  [[nodiscard]] Field take_quoted();
  [[nodiscard]] Field take_plain();

  const char* pos_;
  const char* end_;
  std::int64_t line_ = 0;
  std::int64_t next_line_;
};

/// Whole records, and the line on which they start.
struct CsvBlock {
  std::string bytes;
  std::int64_t first_line = 1;
};

/// Where bytes come from. `read` fills up to `size` bytes, returns how many, 0 at the end, and throws on failure.
/// `ready` tells whether `read` would return at once.
struct ByteSource {
  std::function<std::size_t(char* to, std::size_t size)> read;
  std::function<bool()> ready = [] { return true; };
};

/// A record longer than this is taken for a quote left open: the bound on what a reader holds in memory.
inline constexpr std::size_t kMaxRecordBytes = std::size_t{16} << 20;

/// Cuts a stream of bytes into blocks of whole records, so that blocks can be parsed in parallel. Finds record ends by
/// counting quotes; whether they stand where they may is for RecordReader to say. A byte-order mark is skipped.
class BlockReader {
 public:
  struct Limits {
    std::size_t max_rows;   ///< lines of a block at most
    std::size_t max_bytes;  ///< a block ends with the record that reaches this many bytes
  };
  /// wait: blocks until there is a whole record, then takes what can be had at once; try_only: never blocks.
  enum class Mode { wait, try_only };
  enum class Result { block, not_ready, end };

  explicit BlockReader(ByteSource source) : source_(std::move(source)) {}

  /// Throws CsvError for a record over kMaxRecordBytes, and what the source throws.
  [[nodiscard]] Result next(CsvBlock& block, Limits limits, Mode mode);
  /// Bytes handed out in blocks so far.
  [[nodiscard]] std::uint64_t bytes_done() const noexcept { return bytes_done_; }

 private:
  void scan(Limits limits);
  [[nodiscard]] bool block_is_full(Limits limits) const noexcept;
  void fill();
  void hand_out(CsvBlock& block, std::size_t size);

  ByteSource source_;
  std::string buffer_;          ///< bytes [begin_, buffer_.size()) are still to be handed out
  std::size_t begin_ = 0;
  std::size_t scanned_ = 0;     ///< scan position, from begin_
  std::size_t boundary_ = 0;    ///< end of the last whole record seen, from begin_
  std::size_t rows_ = 0;        ///< records up to boundary_
  std::int64_t lines_ = 0;      ///< line ends up to boundary_
  std::int64_t open_lines_ = 0; ///< line ends inside quotes since boundary_
  bool in_quotes_ = false;
  bool started_ = false;
  bool ended_ = false;
  std::int64_t next_line_ = 1;
  std::uint64_t bytes_done_ = 0;
};

}  // namespace regfeatd::cli
