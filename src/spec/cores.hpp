#pragma once

#include <filesystem>
#include <optional>
#include <string>

namespace regfeatd::spec {

/// The CPU quota, in whole cores rounded up, that cgroup v2 sets on a process: the least of its own cgroup
/// and all those above. `root` is where the hierarchy is mounted, `membership` the text of /proc/self/cgroup.
/// Absent: no quota.
[[nodiscard]] std::optional<int> cgroup_cores(const std::filesystem::path& root, const std::string& membership);

}  // namespace regfeatd::spec
