#include "regfeatd/spec/feature_set.hpp"

namespace regfeatd::spec {

SpecError::SpecError(std::vector<std::string> findings) : findings_(std::move(findings)) {
  for (const std::string& finding : findings_) {
    if (!text_.empty()) text_ += '\n';
    text_ += finding;
  }
}

}  // namespace regfeatd::spec
