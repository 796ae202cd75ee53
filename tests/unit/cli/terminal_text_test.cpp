#include "cli/terminal_text.hpp"

#include <gtest/gtest.h>

namespace regfeatd::cli {
namespace {

TEST(DisplayWidth, IsWhatATerminalMakesOfIt) {
  EXPECT_EQ(display_width("abc"), 3);
  EXPECT_EQ(display_width("\033[31m█ä\033[0m"), 2);
  EXPECT_EQ(display_width("列「率」"), 8);
  EXPECT_EQ(display_width("한국"), 4);
  EXPECT_EQ(display_width("e\u0301"), 1) << "a combining accent";
  EXPECT_EQ(display_width("🚀"), 2);
  EXPECT_EQ(display_width("\xff\xfe"), 2) << "not UTF-8";
  EXPECT_EQ(display_width("\xe5\x88"), 2) << "a character cut short";
}

TEST(Clipped, CountsWhatIsSeen) {
  EXPECT_EQ(clipped("abcdef", 3), "abc");
  EXPECT_EQ(clipped("█░█", 2), "█░");
  EXPECT_EQ(clipped("\033[31mred\033[0m", 3), "\033[31mred\033[0m");
  EXPECT_EQ(clipped("\033[31mred and more\033[0m", 3), "\033[31mred\033[0m");
  EXPECT_EQ(clipped("列列列", 4), "列列");
  EXPECT_EQ(clipped("列列列", 5), "列列") << "no half of a character";
  EXPECT_EQ(clipped("e\u0301x", 1), "e\u0301") << "its accent stays";
}

TEST(Padded, FillsUpToTheColumns) {
  EXPECT_EQ(padded("ab", 4), "ab  ");
  EXPECT_EQ(padded("列", 4), "列  ");
  EXPECT_EQ(padded("abcdef", 4), "abcdef");
}

TEST(Printable, LeavesNothingThatSteersTheTerminal) {
  EXPECT_EQ(printable("a\033[2Jb\nc\x7f"), "a [2Jb c ");
  EXPECT_EQ(printable("a\u009b2Jb"), "a 2Jb") << "the one-character form of ESC [";
  EXPECT_EQ(printable("列 ä é"), "列 ä é");
  EXPECT_EQ(printable("\xff"), "\xff");
}

}  // namespace
}  // namespace regfeatd::cli
