#include "position_option.hpp"

#include "regfeatd/spec/feature_set.hpp"

namespace regfeatd::cli {

OrderValue position_option(OrderKind kind, const std::string& option, const std::string& text) {
  if (kind == OrderKind::time) {
    if (const auto t = parse_time(text)) return *t;
    throw spec::SpecError({option + " " + text + ": expected a date or a time, such as 2024-07-01"});
  }
  try {
    std::size_t used = 0;
    const long long v = std::stoll(text, &used);
    if (used == text.size()) return v;
  } catch (const std::exception&) {  // reported below
  }
  throw spec::SpecError({option + " " + text + ": expected an integer, as the feature set is ordered by a sequence"});
}

}  // namespace regfeatd::cli
