#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

namespace regfeatd {

/// What a failure means for the work at hand. Classified in one place (pg/sqlstate.cpp for database errors, the point
/// of throw for our own) and acted on in one place (the worker loop).
enum class FaultClass {
  transient,      ///< the session or the moment was bad: new session, back off, same partition, not charged
  partition,      ///< this partition's data: record, retry up to the limit, then `failed`; the others go on
  configuration,  ///< nothing of this feature set can work: pause it with the reason
  fatal,          ///< a broken invariant or memory exhausted: the process must end
};

[[nodiscard]] std::string_view to_string(FaultClass c) noexcept;

/// An error that ends a partition, a session or the process. `what()` is a sentence for the operator; it never
/// contains a password. `sqlstate` is empty when the database had no part in it.
class Fault : public std::runtime_error {
 public:
  Fault(FaultClass fault_class, const std::string& message, std::string sqlstate = {}, std::string context = {})
      : std::runtime_error(message),
        class_(fault_class),
        sqlstate_(std::move(sqlstate)),
        context_(std::move(context)) {}

  [[nodiscard]] FaultClass fault_class() const noexcept { return class_; }
  [[nodiscard]] const std::string& sqlstate() const noexcept { return sqlstate_; }
  /// The server's CONTEXT and the failing statement, where known.
  [[nodiscard]] const std::string& context() const noexcept { return context_; }

 private:
  FaultClass class_;
  std::string sqlstate_;
  std::string context_;
};

}  // namespace regfeatd
