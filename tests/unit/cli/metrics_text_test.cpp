#include "cli/metrics_text.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>

namespace regfeatd::cli {
namespace {

TEST(MetricsText, TheDocumentIsTheCatalogue) {
  std::ifstream file(SOURCE_DIR "/docs/metrics.md");
  std::ostringstream text;
  text << file.rdbuf();
  EXPECT_EQ(text.str(), metrics_markdown({})) << "run: regfeatd metrics --markdown >docs/metrics.md";
}

TEST(MetricsText, TheTableHasALineForEachMetric) {
  const std::string table = metrics_table({}, {});
  const std::size_t footer = table.find("\n\n");
  ASSERT_NE(footer, std::string::npos);
  const auto lines = std::count(table.begin(), table.begin() + static_cast<std::ptrdiff_t>(footer), '\n') + 1;
  EXPECT_EQ(static_cast<std::size_t>(lines), fit::catalogue().size() + 1);
  EXPECT_EQ(metrics_table(fit::Family::terms, {}).find("inference"), std::string::npos);
}

TEST(MetricsText, TheTableFitsATerminal) {
  for (const std::size_t width : {108u, 120u, 200u}) {
    std::istringstream lines(metrics_table({}, width));
    for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), width) << line;
  }
}

TEST(MetricsText, JsonHasEveryMetric) {
  const auto metrics = nlohmann::json::parse(metrics_json({}));
  ASSERT_EQ(metrics.size(), fit::catalogue().size());
  EXPECT_EQ(metrics[0]["family"], "coefficients");
  EXPECT_EQ(metrics[0]["name"], "a2");
}

}  // namespace
}  // namespace regfeatd::cli
