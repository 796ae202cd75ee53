#pragma once

#include <string>
#include <vector>

#include "spec/yaml_reader.hpp"

namespace regfeatd::spec {

/// Checks a query of a document: one statement, known placeholders, all of `required` present.
void check_query(const std::string& query, const std::vector<std::string>& known,
                 const std::vector<std::string>& required, int line, const std::string& path, Findings& findings);

}  // namespace regfeatd::spec
