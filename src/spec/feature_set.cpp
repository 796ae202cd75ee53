// A feature-set document from text to struct: reads the parts, then checks what ties them together.

#include "regfeatd/spec/feature_set.hpp"

#include <algorithm>
#include <limits>
#include <map>

#include "spec/draft.hpp"
#include "spec/name_template.hpp"
#include "spec/query.hpp"

namespace regfeatd::spec {
namespace {

void read_series(const MapReader& map, Draft& draft, Findings& findings) {
  if (map.has("series") == map.has("series_query")) {
    map.report(map.has("series") ? "has both series and series_query; give one"
                                 : "needs series: [NAME, ...] or series_query: \"SELECT ...\"");
  }
  if (const auto f = map.find("series")) {
    for (NamedLine& n : read_names(*f, findings)) draft.fs.series.push_back(std::move(n.name));
  }
  if (const auto f = map.find("series_query")) {
    const auto query = read_text(*f, findings);
    if (!query) return;
    draft.fs.series_query = *query;
    check_query(*query, {}, {}, f->line(), f->path, findings);
  }
}

/// The first that says `time:` or `sequence:` decides; the others have to agree.
void decide_order(const std::optional<Field>& partition, Draft& draft, Findings& findings) {
  if (draft.votes.empty()) {
    // Nothing readable says it: let the partitions speak, so that their own faults are still found.
    if (!partition || partition->node->kind != YamlNode::Kind::mapping) return;
    for (const YamlNode::Entry& e : partition->node->entries) {
      const bool is_number = !e.value.text.empty() && e.value.text.find_first_not_of("0123456789") == std::string::npos;
      if (e.key == "by" && is_number) draft.fs.order = OrderKind::sequence;
    }
    return;
  }
  const auto word = [](OrderKind kind) { return std::string(kind == OrderKind::time ? "time" : "sequence"); };
  const Draft::OrderVote& first = draft.votes.front();
  draft.fs.order = first.kind;
  for (const Draft::OrderVote& vote : draft.votes) {
    if (vote.kind == first.kind) continue;
    findings.add(vote.line, at(vote.path, "orders rows by " + word(vote.kind) + ", but " + first.path + " (line " +
                                              std::to_string(first.line) + ") by " + word(first.kind) +
                                              "; a feature set has one kind of order"));
  }
}

void read_options(const MapReader& map, Draft& draft, Findings& findings) {
  FeatureSet& fs = draft.fs;
  if (const auto f = map.find("lookback")) {
    fs.lookback =
        read_enum<Lookback>(*f, {{"rows", Lookback::rows}, {"none", Lookback::none}}, findings).value_or(fs.lookback);
  }
  if (const auto f = map.find("storage")) {
    fs.storage = read_storage(*f, findings).value_or(fs.storage);
  }
  if (const auto f = map.find("statistics")) {
    fs.statistics = read_statistics(*f, findings).value_or(fs.statistics);
  }
  if (const auto f = map.find("on_bad_key")) {
    fs.on_bad_key = read_enum<OnBadKey>(*f, {{"quarantine", OnBadKey::quarantine}, {"fail", OnBadKey::fail}}, findings)
                        .value_or(fs.on_bad_key);
  }
  if (const auto f = map.find("claim_order")) {
    const Words<ClaimOrder> words{{"oldest_first", ClaimOrder::oldest_first},
                                  {"newest_first", ClaimOrder::newest_first}};
    fs.claim_order = read_enum(*f, words, findings).value_or(fs.claim_order);
  }
  if (const auto f = map.find("priority")) {
    fs.priority = static_cast<int>(read_integer(*f, {-1'000'000, 1'000'000}, findings).value_or(0));
  }
}

void read_relations(const MapReader& map, Draft& draft, Findings& findings) {
  if (const auto f = map.find("key")) {
    for (const NamedLine& n : read_names(*f, findings)) {
      draft.fs.key.push_back(n.name);
      draft.key_lines.push_back(n.line);
    }
  }
  if (const auto f = map.find("depends_on")) {
    for (const NamedLine& n : read_names(*f, findings)) {
      if (n.name == draft.fs.name) findings.add(n.line, at(f->path, "names the feature set itself"));
      draft.fs.depends_on.push_back(n.name);
    }
  }
}

}  // namespace

std::optional<Storage> read_storage(const Field& field, Findings& findings) {
  const Words<Storage> words{
      {"double", Storage::double_precision}, {"real", Storage::real}, {"compact", Storage::compact}};
  if (field.node->kind == YamlNode::Kind::scalar) return read_enum(field, words, findings);
  bool compact = false, real = false;
  for (const NamedLine& word : read_names(field, findings)) {
    compact |= word.name == "compact";
    real |= word.name == "real";
    if (word.name != "compact" && word.name != "real") {
      findings.add(word.line,
                   at(field.path, quote(word.name) + " does not stand in a list; the list is [compact, real]"));
    }
  }
  if (compact) return real ? Storage::compact_real : Storage::compact;
  return real ? Storage::real : Storage::double_precision;
}

std::optional<Statistics> read_statistics(const Field& field, Findings& findings) {
  return read_enum<Statistics>(field, {{"order", Statistics::order}, {"all", Statistics::all}}, findings);
}

namespace {

Draft read_draft(const Field& document, Findings& findings) {
  const MapReader map(document,
                      {"feature_set", "series", "series_query", "partition", "source", "key", "inputs", "windows",
                       "metrics", "lookback", "storage", "statistics", "targets", "depends_on", "on_bad_key",
                       "claim_order", "priority", "cadence", "calendar"},
                      findings);
  Draft draft;
  if (const auto f = map.require("feature_set")) draft.fs.name = read_name(*f, findings);
  read_series(map, draft, findings);
  read_relations(map, draft, findings);
  if (const auto f = map.require("source")) {
    read_source(*f, draft, findings);
  } else {
    draft.source_is_whole = false;
  }
  if (const auto f = map.require("targets")) read_targets(*f, draft, findings);
  const auto partition = map.require("partition");
  decide_order(partition, draft, findings);
  if (partition) read_partition(*partition, draft, findings);
  if (const auto f = map.require("inputs")) {
    read_inputs(*f, draft, findings);
  } else {
    draft.inputs_are_whole = false;
  }
  if (const auto f = map.require("windows")) read_windows(*f, draft, findings);
  if (const auto f = map.require("metrics")) read_metrics(*f, draft, findings);
  if (const auto f = map.find("cadence")) read_cadence(*f, draft, findings);
  if (const auto f = map.find("calendar")) {
    read_calendar(*f, draft, findings);
    if (!map.has("cadence"))
      findings.add(f->line(), "calendar: needs cadence: DURATION beside it, how often a row is expected");
  }
  read_options(map, draft, findings);
  return draft;
}

/// Targets that write one table become one target: a partition's rows are written once, with the columns of all.
void merge_targets(FeatureSet& fs) {
  std::vector<Target> merged;
  for (Target& t : fs.targets) {
    const auto same = std::find_if(merged.begin(), merged.end(), [&](const Target& m) { return m.table == t.table; });
    if (same == merged.end()) {
      merged.push_back(std::move(t));
      continue;
    }
    if (same->columns.empty()) same->columns.assign(same->inputs.size(), same->column);
    same->inputs.insert(same->inputs.end(), t.inputs.begin(), t.inputs.end());
    same->columns.insert(same->columns.end(), t.inputs.size(), t.column);
  }
  fs.targets = std::move(merged);
}

}  // namespace

std::string read_name(const Field& field, Findings& findings) {
  auto text = read_text(field, findings);
  if (!text) return {};
  if (const std::string fault = name_fault(*text); !fault.empty()) {
    findings.add(field.line(), at(field.path, "the name " + quote(*text) + " " + fault));
    return {};
  }
  return *text;
}

std::string read_template(const Field& field, const std::vector<std::string>& placeholders, Findings& findings) {
  auto text = read_text(field, findings);
  if (!text) return {};
  try {
    const NameTemplate checked(*text, placeholders);
    return *text;
  } catch (const SpecError& e) {
    for (const std::string& finding : e.findings()) findings.add(field.line(), at(field.path, finding));
    return {};
  }
}

std::vector<NamedLine> read_names(const Field& field, Findings& findings) {
  std::vector<NamedLine> names;
  std::map<std::string, int> lines;
  for (const Field& item : read_list(field, findings)) {
    std::string name = read_name(item, findings);
    if (name.empty()) continue;
    const auto [first, is_new] = lines.emplace(name, item.line());
    if (!is_new) {
      findings.add(item.line(),
                   at(field.path, quote(name) + " is listed on line " + std::to_string(first->second) + " already"));
      continue;
    }
    names.push_back({std::move(name), item.line()});
  }
  return names;
}

FeatureSet parse_feature_set(const std::string& text, const std::string& file) {
  Findings findings(file);
  YamlNode tree;
  Draft draft;
  if (const auto document = read_document(text, tree, findings)) {
    draft = read_draft(*document, findings);
    check_references(draft, findings);
    check_storage(draft, findings);
    check_columns(draft, findings);
    check_tables(draft, findings);
    check_partition_names(draft, findings);
  }
  findings.throw_if_any();
  merge_targets(draft.fs);
  return std::move(draft.fs);
}

FeatureSetDocument read_feature_set(const std::string& path) {
  FeatureSetDocument document;
  document.text = read_file(path);
  document.feature_set = parse_feature_set(document.text, path);
  return document;
}

}  // namespace regfeatd::spec
