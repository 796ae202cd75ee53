#include "spec/findings.hpp"

#include <algorithm>
#include <cstdio>

namespace regfeatd::spec {
namespace {

/// Insertions, deletions, replacements and swaps of neighbours that turn one text into the other.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before(b.size() + 1), last(b.size() + 1), now(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) last[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    now[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replace = last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      now[j] = std::min({last[j] + 1, now[j - 1] + 1, replace});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) now[j] = std::min(now[j], before[j - 2] + 1);
    }
    std::swap(before, last);
    std::swap(last, now);
  }
  return last[b.size()];
}

}  // namespace

void Findings::add(int line, std::string message) { found_.push_back({line, std::move(message)}); }

void Findings::throw_if_any() const {
  if (found_.empty()) return;
  std::vector<Finding> sorted = found_;
  std::stable_sort(sorted.begin(), sorted.end(), [](const Finding& a, const Finding& b) { return a.line < b.line; });
  std::vector<std::string> texts;
  texts.reserve(sorted.size());
  for (const Finding& f : sorted) {
    texts.push_back(f.line > 0 ? file_ + ":" + std::to_string(f.line) + ": " + f.message : file_ + ": " + f.message);
  }
  throw SpecError(std::move(texts));
}

std::string quote(std::string_view text) {
  constexpr std::size_t kLongest = 100;
  std::string out = "\"";
  std::size_t end = std::min(text.size(), kLongest);
  while (end < text.size() && end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0U) == 0x80U)
    --end;  // whole characters
  for (const char c : text.substr(0, end)) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      char buffer[8];
      std::snprintf(buffer, sizeof buffer, "\\x%02x", static_cast<unsigned>(static_cast<unsigned char>(c)));
      out += buffer;
    } else {
      out += c;
    }
  }
  if (end < text.size()) out += "...";
  return out + '"';
}

std::string quoted_list(std::span<const std::string> names, std::size_t at_most) {
  std::string out;
  const std::size_t shown = names.size() > at_most ? at_most : names.size();
  for (std::size_t i = 0; i < shown; ++i) {
    if (i > 0) out += i + 1 == names.size() ? " and " : ", ";
    out += quote(names[i]);
  }
  if (shown < names.size()) out += " and " + std::to_string(names.size() - shown) + " more";
  return out;
}

std::string did_you_mean(std::string_view text, std::span<const std::string> candidates) {
  if (text.size() > 63) return {};
  const std::string* best = nullptr;
  std::size_t best_distance = std::max<std::size_t>(1, text.size() / 3) + 1;
  constexpr std::size_t kMostCandidates = 1000;  // a document may make up thousands of names, misspelt
  for (const std::string& candidate : candidates.first(std::min(candidates.size(), kMostCandidates))) {
    if (candidate.size() > 63) continue;
    const std::size_t distance = edit_distance(text, candidate);
    if (distance < best_distance) {
      best = &candidate;
      best_distance = distance;
    }
  }
  return best == nullptr ? std::string{} : "; did you mean " + quote(*best) + "?";
}

}  // namespace regfeatd::spec
