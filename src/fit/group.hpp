#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "fit/kernel.hpp"
#include "regfeatd/fit/fitter.hpp"

namespace regfeatd::fit {

inline constexpr std::size_t kMaxFamilySize = 22;
inline constexpr std::size_t kNoColumn = static_cast<std::size_t>(-1);

/// The columns of a plan that come from the same fits: one window, one offset.
struct Group {
  struct FamilyColumns {
    Family family;
    std::array<std::size_t, kMaxFamilySize> columns;  ///< of the plan, by position in the family; kNoColumn: not wanted
  };

  std::size_t window;
  std::int64_t offset;
  FitWants wants{false, false};
  bool needs_student = false;  ///< some column is an interval bound or a p value
  std::vector<FamilyColumns> families;
  std::vector<std::size_t> all_columns;
  std::vector<std::size_t> count_columns;  ///< of windows by range: those that hold the number of rows, whatever it is
  std::vector<std::size_t> p_columns;      ///< filled with t statistics by the kernel, see Kernel::Derive
};

/// Throws std::invalid_argument for a plan that Fitter does not accept.
void check_plan(const Plan& plan);
[[nodiscard]] std::vector<Group> make_groups(const Plan& plan);

}  // namespace regfeatd::fit
