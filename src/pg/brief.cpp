#include "regfeatd/pg/brief.hpp"

namespace regfeatd::pg {

std::string abandonment_settings(std::chrono::milliseconds idle) {
  return "SET LOCAL idle_in_transaction_session_timeout = " + std::to_string(idle.count()) +
         "; SET LOCAL tcp_keepalives_idle = 30; SET LOCAL tcp_keepalives_interval = 10; SET LOCAL tcp_keepalives_count = 3";
}

void be_brief(pqxx::transaction_base& tx) {
  tx.exec("SET LOCAL lock_timeout = '5s'; " + abandonment_settings(std::chrono::seconds{5}));
}

}  // namespace regfeatd::pg
