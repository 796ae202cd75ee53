#include "regfeatd/pg/sqlstate.hpp"

namespace regfeatd::pg {

// Classes and codes: PostgreSQL documentation, appendix A.
FaultClass classify(std::string_view sqlstate) noexcept {
  const auto in_class = [&](std::string_view prefix) { return sqlstate.substr(0, 2) == prefix; };
  if (sqlstate.empty()) return FaultClass::transient;
  if (sqlstate == "53200") return FaultClass::transient;  // out of memory on the server: its backend, not ours
  if (in_class("08") || in_class("40") || in_class("53") || in_class("57")) return FaultClass::transient;
  if (sqlstate == "55P03" || sqlstate == "55006") return FaultClass::transient;  // lock not available, object in use
  if (sqlstate == "25006") return FaultClass::transient;                         // read-only: the writer moved away
  if (sqlstate == "25P03" || sqlstate == "25P04")
    return FaultClass::transient;  // transaction ended by a server time-out
  if (in_class("28") || in_class("3D") || in_class("3F") || in_class("42")) return FaultClass::configuration;
  if (sqlstate == "55000") return FaultClass::configuration;                 // object not in prerequisite state
  if (sqlstate == "XX001" || sqlstate == "XX002") return FaultClass::fatal;  // data or index corrupted
  if (in_class("22") || in_class("23")) return FaultClass::partition;
  if (in_class("58")) return FaultClass::transient;  // the server's input or output failed
  return FaultClass::partition;
}

}  // namespace regfeatd::pg
