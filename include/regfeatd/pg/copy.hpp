#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "regfeatd/pg/session.hpp"

namespace regfeatd::pg {

/// COPY ... TO STDOUT in binary format, row by row. The statement must be the session's only one at the time; it runs
/// inside the transaction that is open. Throws Fault.
class CopyOut {
 public:
  /// `select`: the query, without parameters. Field count is checked against every row.
  CopyOut(Session& session, const std::string& select, int fields);
  /// Ends a COPY that was not read to its end by cancelling it; never throws.
  ~CopyOut();
  CopyOut(const CopyOut&) = delete;
  CopyOut& operator=(const CopyOut&) = delete;

  /// Moves to the next row; false at the end. Fields stay valid until the next call.
  [[nodiscard]] bool next();
  /// The raw bytes of a field in PostgreSQL's binary send format; nullopt for NULL.
  [[nodiscard]] std::optional<std::span<const std::byte>> field(int i) const noexcept {
    return fields_[static_cast<std::size_t>(i)];
  }
  [[nodiscard]] std::int64_t int64(int i) const;  ///< of a bigint, timestamp or timestamptz field, not NULL
  [[nodiscard]] double float64(int i) const;      ///< of a double precision field; NULL gives NaN
  [[nodiscard]] double numeric(int i) const;      ///< of a numeric field, see decode_numeric; NULL gives NaN

 private:
  void parse(std::span<const std::byte> tuple);
  void finish();

  Session& session_;
  std::string statement_;
  std::vector<std::optional<std::span<const std::byte>>> fields_;
  char* message_ = nullptr;  // the last one, from libpq
  bool header_seen_ = false;
  bool active_ = false;
};

/// All tuples of a query in binary format, as CopyIn::send takes them. For tables that fit into memory.
[[nodiscard]] std::vector<std::byte> copy_out_tuples(Session& session, const std::string& select);

/// COPY ... FROM STDIN in binary format. The caller encodes tuples (TupleEncoder); header and trailer are sent here.
class CopyIn {
 public:
  /// `statement`: COPY table (columns) FROM STDIN (FORMAT binary ...).
  CopyIn(Session& session, const std::string& statement);
  /// Aborts a COPY that was not finished; the transaction is then failed, the session usable. Never throws.
  ~CopyIn();
  CopyIn(const CopyIn&) = delete;
  CopyIn& operator=(const CopyIn&) = delete;

  void send(std::span<const std::byte> tuples);
  /// Ends the COPY; the number of rows the server took.
  std::int64_t finish();
  [[nodiscard]] std::int64_t bytes_sent() const noexcept { return bytes_sent_; }

 private:
  Session& session_;
  std::string statement_;
  std::int64_t bytes_sent_ = 0;
  bool active_ = false;
};

}  // namespace regfeatd::pg
