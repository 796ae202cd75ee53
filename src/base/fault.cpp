#include "regfeatd/base/fault.hpp"

namespace regfeatd {

std::string_view to_string(FaultClass c) noexcept {
  switch (c) {
    case FaultClass::transient:
      return "transient";
    case FaultClass::partition:
      return "partition";
    case FaultClass::configuration:
      return "configuration";
    case FaultClass::fatal:
      return "fatal";
  }
  return "unknown";
}

}  // namespace regfeatd
