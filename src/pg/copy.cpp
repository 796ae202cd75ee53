#include "regfeatd/pg/copy.hpp"

#include <libpq-fe.h>

#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <memory>

#include "regfeatd/pg/numeric.hpp"
#include "regfeatd/pg/sqlstate.hpp"

namespace regfeatd::pg {
namespace {

// PostgreSQL documentation, COPY, "Binary Format": signature, flags, length of the header extension; -1 ends the data.
constexpr std::array<unsigned char, 19> kHeader{'P', 'G', 'C', 'O', 'P', 'Y', '\n', 0xff, '\r', '\n', 0};
constexpr std::array<unsigned char, 2> kTrailer{0xff, 0xff};

struct ResultFree {
  void operator()(PGresult* r) const noexcept { PQclear(r); }
};
using Result = std::unique_ptr<PGresult, ResultFree>;

template <class T>
T big_endian(const std::byte* p) noexcept {
  T value;
  std::memcpy(&value, p, sizeof value);
  if constexpr (std::endian::native == std::endian::little) {
    if constexpr (sizeof(T) == 2) value = static_cast<T>(__builtin_bswap16(static_cast<std::uint16_t>(value)));
    if constexpr (sizeof(T) == 4) value = static_cast<T>(__builtin_bswap32(static_cast<std::uint32_t>(value)));
    if constexpr (sizeof(T) == 8) value = static_cast<T>(__builtin_bswap64(static_cast<std::uint64_t>(value)));
  }
  return value;
}

std::string one_line(const char* text) {
  std::string out = text == nullptr ? "" : text;
  for (char& c : out) {
    if (c == '\n') c = ' ';
  }
  while (!out.empty() && out.back() == ' ') out.pop_back();
  return out;
}

[[noreturn]] void throw_result(pg_conn* connection, const PGresult* result, const std::string& statement) {
  const char* state = result == nullptr ? nullptr : PQresultErrorField(result, PG_DIAG_SQLSTATE);
  const char* context = result == nullptr ? nullptr : PQresultErrorField(result, PG_DIAG_CONTEXT);
  const char* primary = result == nullptr ? nullptr : PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
  const char* detail = result == nullptr ? nullptr : PQresultErrorField(result, PG_DIAG_MESSAGE_DETAIL);
  if (state == nullptr) {
    throw Fault(FaultClass::transient, "the connection was lost: " + one_line(PQerrorMessage(connection)), "08006");
  }
  std::string message = one_line(primary);
  if (detail != nullptr) message += " (" + one_line(detail) + ")";
  std::string where = context == nullptr ? "" : one_line(context) + "; ";
  throw Fault(classify(state), message, state, where + "statement: " + statement.substr(0, 2000));
}

/// Reads results until the connection is idle; throws the first error among them.
void drain(pg_conn* connection, const std::string& statement) {
  Result failed;
  while (Result r{PQgetResult(connection)}) {
    const ExecStatusType status = PQresultStatus(r.get());
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK && !failed) failed = std::move(r);
    if (status == PGRES_COPY_IN || status == PGRES_COPY_OUT) break;
  }
  if (failed) throw_result(connection, failed.get(), statement);
}

void start(Session& session, const std::string& statement, ExecStatusType expected) {
  const Result result{PQexec(session.raw(), statement.c_str())};
  if (!result || PQresultStatus(result.get()) != expected) throw_result(session.raw(), result.get(), statement);
}

}  // namespace

CopyOut::CopyOut(Session& session, const std::string& select, int fields)
    : session_(session),
      statement_("COPY (" + select + ") TO STDOUT (FORMAT binary)"),
      fields_(static_cast<std::size_t>(fields)) {
  start(session, statement_, PGRES_COPY_OUT);
  active_ = true;
}

CopyOut::~CopyOut() {
  PQfreemem(message_);
  if (!active_) return;
  session_.canceller()->cancel();
  char* rest = nullptr;
  while (PQgetCopyData(session_.raw(), &rest, 0) > 0) PQfreemem(rest);
  while (Result r{PQgetResult(session_.raw())}) {
    if (PQstatus(session_.raw()) != CONNECTION_OK) break;
  }
}

bool CopyOut::next() {
  for (;;) {
    PQfreemem(message_);
    message_ = nullptr;
    const int length = PQgetCopyData(session_.raw(), &message_, 0);
    if (length < 0) {
      finish();
      return false;
    }
    std::span<const std::byte> bytes{reinterpret_cast<const std::byte*>(message_), static_cast<std::size_t>(length)};
    if (!header_seen_) {
      header_seen_ = true;  // the server sends it with the first tuple or alone
      if (bytes.size() < kHeader.size() || std::memcmp(bytes.data(), kHeader.data(), kHeader.size()) != 0) {
        throw Fault(FaultClass::fatal, "binary COPY: unknown header");
      }
      bytes = bytes.subspan(kHeader.size());
    }
    if (bytes.empty()) continue;
    if (bytes.size() == 2 && big_endian<std::int16_t>(bytes.data()) == -1) continue;  // trailer; the end follows
    parse(bytes);
    return true;
  }
}

void CopyOut::parse(std::span<const std::byte> tuple) {
  const auto malformed = [] { return Fault(FaultClass::fatal, "binary COPY: malformed tuple"); };
  if (tuple.size() < 2 || big_endian<std::int16_t>(tuple.data()) != static_cast<std::int16_t>(fields_.size()))
    throw malformed();
  std::size_t at = 2;
  for (auto& field : fields_) {
    if (at + 4 > tuple.size()) throw malformed();
    const auto length = big_endian<std::int32_t>(tuple.data() + at);
    at += 4;
    if (length < 0) {
      field.reset();
      continue;
    }
    if (at + static_cast<std::size_t>(length) > tuple.size()) throw malformed();
    field = tuple.subspan(at, static_cast<std::size_t>(length));
    at += static_cast<std::size_t>(length);
  }
}

void CopyOut::finish() {
  active_ = false;
  drain(session_.raw(), statement_);
}

std::int64_t CopyOut::int64(int i) const {
  const auto f = field(i);
  if (!f || f->size() != 8) throw Fault(FaultClass::fatal, "binary COPY: expected an 8-byte field");
  return big_endian<std::int64_t>(f->data());
}

double CopyOut::float64(int i) const {
  const auto f = field(i);
  if (!f) return std::numeric_limits<double>::quiet_NaN();
  if (f->size() != 8) throw Fault(FaultClass::fatal, "binary COPY: expected an 8-byte field");
  return std::bit_cast<double>(big_endian<std::uint64_t>(f->data()));
}

double CopyOut::numeric(int i) const {
  const auto f = field(i);
  return f ? decode_numeric(*f) : std::numeric_limits<double>::quiet_NaN();
}

std::vector<std::byte> copy_out_tuples(Session& session, const std::string& select) {
  const std::string statement = "COPY (" + select + ") TO STDOUT (FORMAT binary)";
  start(session, statement, PGRES_COPY_OUT);
  std::vector<std::byte> tuples;
  char* message = nullptr;
  while (true) {
    const int length = PQgetCopyData(session.raw(), &message, 0);
    if (length < 0) break;
    const auto* bytes = reinterpret_cast<const std::byte*>(message);
    tuples.insert(tuples.end(), bytes, bytes + length);
    PQfreemem(message);
  }
  drain(session.raw(), statement);
  if (tuples.size() < kHeader.size() + kTrailer.size()) throw Fault(FaultClass::fatal, "binary COPY: unknown header");
  tuples.erase(tuples.begin(), tuples.begin() + kHeader.size());
  tuples.resize(tuples.size() - kTrailer.size());
  return tuples;
}

CopyIn::CopyIn(Session& session, const std::string& statement) : session_(session), statement_(statement) {
  start(session, statement, PGRES_COPY_IN);
  active_ = true;
  send(std::as_bytes(std::span{kHeader}));
}

CopyIn::~CopyIn() {
  if (!active_) return;
  PQputCopyEnd(session_.raw(), "abandoned by regfeatd");
  while (Result r{PQgetResult(session_.raw())}) {
    if (PQstatus(session_.raw()) != CONNECTION_OK) break;
  }
}

void CopyIn::send(std::span<const std::byte> tuples) {
  // PQputCopyData takes an int; our buffers are far smaller.
  if (PQputCopyData(session_.raw(), reinterpret_cast<const char*>(tuples.data()), static_cast<int>(tuples.size())) !=
      1) {
    active_ = false;
    drain(session_.raw(), statement_);
    throw Fault(FaultClass::transient,
                "the connection was lost while sending: " + one_line(PQerrorMessage(session_.raw())), "08006");
  }
  bytes_sent_ += static_cast<std::int64_t>(tuples.size());
}

std::int64_t CopyIn::finish() {
  send(std::as_bytes(std::span{kTrailer}));
  active_ = false;
  if (PQputCopyEnd(session_.raw(), nullptr) != 1) {
    throw Fault(FaultClass::transient,
                "the connection was lost while sending: " + one_line(PQerrorMessage(session_.raw())), "08006");
  }
  const Result result{PQgetResult(session_.raw())};
  if (!result || PQresultStatus(result.get()) != PGRES_COMMAND_OK) {
    throw_result(session_.raw(), result.get(), statement_);
  }
  const std::int64_t rows = std::stoll(std::string("0") + PQcmdTuples(result.get()));
  drain(session_.raw(), statement_);
  return rows;
}

}  // namespace regfeatd::pg
