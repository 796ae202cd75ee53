#pragma once

#include <string_view>

namespace regfeatd {

/// Version and commit this binary was built from, for example "0.1.0+3f2a9c1d5e77"; "-dirty" is appended when
/// the source tree had uncommitted changes. It is written on every attempt, so that rows can be traced to a build.
[[nodiscard]] std::string_view build_id() noexcept;

}  // namespace regfeatd
