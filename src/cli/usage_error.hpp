#pragma once

#include <stdexcept>

namespace regfeatd::cli {

/// What the user asked for cannot be: an option's value, a column that is not there, a file that cannot be opened.
/// Ends the command with status 64.
class UsageError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace regfeatd::cli
