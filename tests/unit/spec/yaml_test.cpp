// What both documents share: YAML itself, keys, types.

#include "spec/yaml_tree.hpp"

#include "documents.hpp"

namespace regfeatd::spec {
namespace {

TEST(Yaml, SyntaxErrorsGiveTheLine) {
  EXPECT_EQ(settings_findings("workers: 2\nlog: { level: info\n"),
            List{"c.yaml:3: not valid YAML: end of map flow not found"});
  EXPECT_EQ(settings_findings("workers: 2\n\tlog: x\n").size(), 1U);
  EXPECT_EQ(settings_findings("a: 'unclosed\n").size(), 1U);
}

TEST(Yaml, DuplicateKeysAreReportedAtEveryLevel) {
  EXPECT_EQ(settings_findings("workers: 2\nlog: { level: info, level: debug }\nworkers: 3\n"),
            (List{"c.yaml:2: key \"level\" is given twice; it stands on line 2 already",
                  "c.yaml:3: key \"workers\" is given twice; it stands on line 1 already"}));
  EXPECT_EQ(findings_with({{"{ w15: 15, agg: 90 }", "{ w15: 15, w15: 90 }"}}),
            List{"f.yaml:11: key \"w15\" is given twice; it stands on line 11 already"});
}

TEST(Yaml, UnknownKeysGetASuggestion) {
  EXPECT_EQ(settings_findings("worker: 2\n"), List{"c.yaml:1: unknown key \"worker\"; did you mean \"workers\"?"});
  EXPECT_EQ(settings_findings("retry: { atempts: 2 }\n"),
            List{"c.yaml:1: retry: unknown key \"atempts\"; did you mean \"attempts\"?"});
  EXPECT_EQ(settings_findings("retry:\n  wait: 2\n  pause: 3\n"),
            (List{"c.yaml:2: retry: unknown key \"wait\"; the keys here are \"attempts\", \"base\" and \"cap\"",
                  "c.yaml:3: retry: unknown key \"pause\""}));
}

TEST(Yaml, WrongTypesSayWhatIsThere) {
  EXPECT_EQ(settings_findings("retry: 5\n"),
            List{"c.yaml:1: retry: must be a mapping with the keys \"attempts\", \"base\" and \"cap\", not \"5\""});
  EXPECT_EQ(settings_findings("lease: [1s]\n"), List{"c.yaml:1: lease: must be a duration with a unit (us, "
                                                     "ms, s, min, h, d, w), such as 10s, not a list"});
  EXPECT_EQ(settings_findings("log: { level: { a: b } }\n"),
            List{"c.yaml:1: log.level: must be debug, info, warning or error, not a mapping"});
  EXPECT_EQ(settings_findings("- workers\n"), List{"c.yaml:1: the document must be a mapping of keys to values"});
  EXPECT_EQ(findings_of("- x\n"), List{"f.yaml:1: the document must be a mapping of keys to values, not a list"});
}

TEST(Yaml, KeysWithoutAValue) {
  EXPECT_EQ(settings_findings("lease:\nworkers: ~\n"),
            (List{"c.yaml:1: lease: has no value", "c.yaml:2: workers: has no value"}));
  EXPECT_EQ(findings_with({{"  idx: { column: rate_index }", "  idx:"}}),
            List{"f.yaml:9: inputs.idx: must be a mapping with the keys \"column\" and \"table\", not nothing"});
}

TEST(Yaml, EmptyDocuments) {
  EXPECT_EQ(findings_of(""), List{"f.yaml: the document is empty"});
  EXPECT_EQ(findings_of("# nothing\n"), List{"f.yaml: the document is empty"});
  EXPECT_EQ(findings_of("---\n~\n"), List{"f.yaml: the document is empty"});
  EXPECT_TRUE(settings_findings("# the defaults\n").empty());
}

TEST(Yaml, OneDocumentWithoutAnchorsAliasesAndTags) {
  EXPECT_EQ(settings_findings("workers: 2\n---\nworkers: 3\n").size(), 1U);
  EXPECT_EQ(settings_findings("workers: &w 2\nlease: *w\n"),
            (List{"c.yaml:1: anchors (&name) are not supported; leave it out",
                  "c.yaml:2: aliases (*name) are not supported; write the value out"}));
  EXPECT_EQ(settings_findings("workers: !!int 2\n"),
            List{"c.yaml:1: tags (\"tag:yaml.org,2002:int\") are not supported; leave it out"});
  EXPECT_EQ(settings_findings("? [a, b]\n: c\n"),
            List{"c.yaml:1: a key must be a plain name, not empty, a list or a mapping"});
}

// A few hundred bytes may not cost gigabytes or the stack.
TEST(Yaml, BoundsDepthAndSize) {
  EXPECT_EQ(settings_findings(std::string(100'000, '[')).size(), 1U);
  std::string dashes;
  for (int i = 0; i < 100'000; ++i) dashes += "- ";
  EXPECT_EQ(settings_findings(dashes), List{"c.yaml:1: the document is nested more than 16 levels deep"});
  std::string deep;
  for (int i = 0; i < 500; ++i) deep += std::string(static_cast<std::size_t>(i), ' ') + "a:\n";
  EXPECT_EQ(settings_findings(deep), List{"c.yaml:17: the document is nested more than 16 levels deep"});
  EXPECT_EQ(settings_findings(std::string(kMaxDocumentBytes + 1, '#')),
            List{"c.yaml: the document has 1048577 bytes; at most 1048576 are read"});
}

TEST(Yaml, TextMustBeUtf8) {
  EXPECT_EQ(settings_findings("workers: 2\n# \xff\n"),
            List{"c.yaml:2: the text is not UTF-8; save the document as plain UTF-8 text"});
  for (const char* bad :
       {"\xc0\xaf", "\xe0\x80\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xf8\x88\x80\x80", "\xe2\x82", "\x80"}) {
    EXPECT_EQ(settings_findings(std::string("# ") + bad).size(), 1U);
  }
  EXPECT_EQ(settings_findings("# \x01\n"),
            List{"c.yaml:1: the text holds a control character; save the document as plain UTF-8 text"});
  EXPECT_EQ(settings_findings(std::string("#\0", 2)).size(), 1U);
  EXPECT_TRUE(settings_findings("daemon_name: \"Füßli 東京 \xf0\x9f\x90\x98\"\r\n").empty());
}

TEST(Yaml, MessagesAreHarmlessOnATerminal) {
  EXPECT_EQ(settings_findings("\"a\\e[31m\": 1\n").front().substr(0, 34), "c.yaml:1: unknown key \"a\\x1b[31m\";");
}

TEST(Yaml, AFileThatCannotBeReadIsAFinding) {
  try {
    (void)read_feature_set("/nonexistent/f.yaml");
    FAIL();
  } catch (const SpecError& e) {
    EXPECT_STREQ(e.what(), "/nonexistent/f.yaml: cannot be opened: No such file or directory");
  }
  EXPECT_THROW((void)read_feature_set("/tmp"), SpecError);
}

}  // namespace
}  // namespace regfeatd::spec
