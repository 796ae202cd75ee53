#pragma once

#include <chrono>
#include <string>

#include "regfeatd/pg/session.hpp"

namespace regfeatd::pg {

/// Settings, for the length of a transaction, by which the server ends what its client has left: a transaction that
/// stands idle for `idle`, and one whose client's host is gone. Without them a lost connection keeps its locks until the
/// server's own keepalive, two hours by default.
[[nodiscard]] std::string abandonment_settings(std::chrono::milliseconds idle);

/// For a transaction of a few quick statements on the work tables: it waits for no lock longer than 5 s (then 55P03, which
/// is transient), and is ended by the server when its client falls silent for 5 s.
void be_brief(pqxx::transaction_base& tx);

}  // namespace regfeatd::pg
