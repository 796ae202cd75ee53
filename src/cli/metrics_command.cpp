// `regfeatd metrics`: the catalogue.

#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdio>
#include <memory>
#include <optional>
#include <string>

#include "command.hpp"
#include "metrics_text.hpp"

namespace regfeatd::cli {
namespace {

struct MetricsOptions {
  std::string family;
  bool markdown = false;
  bool json = false;
};

/// Columns of the terminal; nothing when standard output is not one, so that `regfeatd metrics | grep` sees
/// whole lines.
std::optional<std::size_t> terminal_width() {
  winsize size{};
  if (::isatty(STDOUT_FILENO) != 1 || ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0)
    return std::nullopt;
  return size.ws_col;
}

int print_metrics(const MetricsOptions& options) {
  std::optional<fit::Family> family;
  if (!options.family.empty()) {
    family = fit::family_from_name(options.family);
    if (!family) {
      std::fprintf(stderr, "regfeatd metrics: --family: there is no family \"%s\"; `regfeatd metrics` lists them\n",
                   options.family.c_str());
      return kExitUsage;
    }
  }
  const std::string text = options.markdown ? metrics_markdown(family)
                           : options.json   ? metrics_json(family)
                                            : metrics_table(family, terminal_width());
  const bool written = std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0;
  return written ? kExitOk : kExitFindings;
}

}  // namespace

void add_metrics_command(CLI::App& app, Action& action) {
  CLI::App* const metrics =
      app.add_subcommand("metrics", "Print the metric catalogue: names, families, formulas, when NULL");
  const auto options = std::make_shared<MetricsOptions>();  // shared: lives as long as the callback
  metrics->add_option("--family", options->family, "only this family: coefficients, terms, legacy_terms or inference");
  CLI::Option* const markdown =
      metrics->add_flag("--markdown", options->markdown, "as Markdown, which is docs/metrics.md");
  metrics->add_flag("--json", options->json, "as JSON")->excludes(markdown);
  metrics->callback([&action, options] { action = [options] { return print_metrics(*options); }; });
}

}  // namespace regfeatd::cli
