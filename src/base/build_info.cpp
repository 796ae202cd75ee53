#include "regfeatd/base/build_info.hpp"

namespace regfeatd {

std::string_view build_id() noexcept {
  return
#include "build_id.inc"
      ;
}

}  // namespace regfeatd
