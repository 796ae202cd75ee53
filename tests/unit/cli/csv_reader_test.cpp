#include "cli/csv_reader.hpp"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "cli/csv_writer.hpp"

namespace regfeatd::cli {
namespace {

using Record = std::vector<std::string>;

std::vector<Record> read_all(std::string_view text) {
  RecordReader reader(text);
  std::vector<Record> records;
  std::vector<Field> fields;
  std::string scratch;
  while (reader.next(fields)) {
    Record& record = records.emplace_back();
    for (const Field& field : fields) record.emplace_back(field_value(field, scratch));
  }
  return records;
}

/// A source that gives `text` in pieces of at most `step` bytes.
ByteSource pieces(const std::string& text, std::size_t step) {
  auto pos = std::make_shared<std::size_t>(0);
  return {.read = [&text, step, pos](char* to, std::size_t size) {
    const std::size_t count = std::min({size, step, text.size() - *pos});
    std::copy_n(text.data() + *pos, count, to);
    *pos += count;
    return count;
  }};
}

std::vector<CsvBlock> blocks_of(const std::string& text, std::size_t step, BlockReader::Limits limits) {
  BlockReader reader(pieces(text, step));
  std::vector<CsvBlock> blocks;
  CsvBlock block;
  while (reader.next(block, limits, BlockReader::Mode::wait) == BlockReader::Result::block) blocks.push_back(block);
  return blocks;
}

std::pair<std::int64_t, std::string> error_of(std::string_view text) {
  try {
    (void)read_all(text);
  } catch (const CsvError& e) {
    return {e.line(), e.what()};
  }
  return {0, ""};
}

TEST(RecordReader, SplitsFieldsAndLines) {
  EXPECT_EQ(read_all("a,b\n1,2\n"), (std::vector<Record>{{"a", "b"}, {"1", "2"}}));
  EXPECT_EQ(read_all("a,b\r\n1,2\r\n"), (std::vector<Record>{{"a", "b"}, {"1", "2"}}));
  EXPECT_EQ(read_all("a,,\n,\n"), (std::vector<Record>{{"a", "", ""}, {"", ""}}));
  EXPECT_EQ(read_all(""), std::vector<Record>{});
}

TEST(RecordReader, LastLineMayLackItsEnd) {
  EXPECT_EQ(read_all("a\n1,"), (std::vector<Record>{{"a"}, {"1", ""}}));
  EXPECT_EQ(read_all("a,b\r"), (std::vector<Record>{{"a", "b"}}));
}

TEST(RecordReader, QuotedFieldsHoldSeparatorsQuotesAndLineEnds) {
  EXPECT_EQ(read_all("\"a,b\",\"say \"\"hi\"\"\",\"two\r\nlines\"\r\nx,\"\",y"),
            (std::vector<Record>{{"a,b", "say \"hi\"", "two\r\nlines"}, {"x", "", "y"}}));
}

TEST(RecordReader, SkipsEmptyLinesButCountsThem) {
  RecordReader reader("\na\n\r\n\nb\n\n", 10);
  std::vector<Field> fields;
  ASSERT_TRUE(reader.next(fields));
  EXPECT_EQ(reader.line(), 11);
  ASSERT_TRUE(reader.next(fields));
  EXPECT_EQ(reader.line(), 14);
  EXPECT_FALSE(reader.next(fields));
}

TEST(RecordReader, LinesInsideQuotesCount) {
  RecordReader reader("\"1\n2\n3\",x\nb,c\n");
  std::vector<Field> fields;
  ASSERT_TRUE(reader.next(fields));
  EXPECT_EQ(reader.line(), 1);
  ASSERT_TRUE(reader.next(fields));
  EXPECT_EQ(reader.line(), 4);
}

TEST(RecordReader, RawKeepsTheQuotes) {
  RecordReader reader("\"a\"\"b\",c\n");
  std::vector<Field> fields;
  ASSERT_TRUE(reader.next(fields));
  EXPECT_EQ(fields[0].raw, "\"a\"\"b\"");
  EXPECT_EQ(fields[1].raw, "c");
}

TEST(RecordReader, MisplacedQuotesAreErrorsWithTheirLine) {
  EXPECT_EQ(error_of("a\n\"b\"x\n"),
            (std::pair<std::int64_t, std::string>{2, "text after the closing quote of a field"}));
  EXPECT_EQ(error_of("a\nb\"c\n"),
            (std::pair<std::int64_t, std::string>{2, "a quote inside a field that does not start with one"}));
  EXPECT_EQ(error_of("a\n\nx,\"b\n\n"), (std::pair<std::int64_t, std::string>{3, "a quoted field is not closed"}));
}

TEST(RecordReader, ReadsBackWhatTheWriterWrites) {
  rc::check("random records survive writing and reading", [](const std::vector<Record>& random) {
    std::string text;
    std::vector<Record> expected;
    for (Record record : random) {
      record.emplace_back("end");  // neither an empty line nor a record without fields
      for (std::size_t i = 0; i < record.size(); ++i) {
        if (i > 0) text += ',';
        append_field(text, record[i]);
      }
      text += *rc::gen::element<std::string>("\n", "\r\n");
      expected.push_back(record);
    }
    RC_ASSERT(read_all(text) == expected);
  });
}

/// Text made of what matters to the reader.
rc::Gen<std::string> csv_like() {
  return rc::gen::container<std::string>(
      rc::gen::weightedElement<char>({{8, 'a'}, {4, ','}, {4, '\n'}, {2, '"'}, {1, '\r'}, {1, '\0'}, {1, '\xEF'}}));
}

TEST(BlockReader, BlocksAreThePiecesOfTheInput) {
  rc::check("blocks put together are the input, whatever the limits", [] {
    const std::string text = "head" + *csv_like();
    const auto step = *rc::gen::inRange<std::size_t>(1, 20);
    const BlockReader::Limits limits{.max_rows = *rc::gen::inRange<std::size_t>(1, 5),
                                     .max_bytes = *rc::gen::inRange<std::size_t>(1, 30)};
    std::string joined;
    for (const CsvBlock& block : blocks_of(text, step, limits)) {
      RC_ASSERT(!block.bytes.empty());
      RC_ASSERT(block.first_line == 1 + std::count(joined.begin(), joined.end(), '\n'));
      joined += block.bytes;
    }
    RC_ASSERT(joined == text);
  });
}

TEST(BlockReader, CuttingDoesNotChangeTheRecords) {
  rc::check("records of all blocks are the records of the whole", [](std::vector<Record> records) {
    std::string text;
    for (Record& record : records) {
      for (const std::string& value : record) {
        append_field(text, value);
        text += ',';
      }
      text += "end\n";
      record.emplace_back("end");
    }
    const auto step = *rc::gen::inRange<std::size_t>(1, 50);
    std::vector<Record> joined;
    for (const CsvBlock& block : blocks_of(text, step, {.max_rows = 3, .max_bytes = 40})) {
      for (Record& record : read_all(block.bytes)) joined.push_back(std::move(record));
    }
    RC_ASSERT(joined == records);
  });
}

TEST(BlockReader, SkipsAByteOrderMark) {
  for (const std::size_t step : {1u, 2u, 3u, 100u}) {
    const std::string text = "\xEF\xBB\xBFtime,x\n1,2\n";
    const auto blocks = blocks_of(text, step, {.max_rows = 100, .max_bytes = 1000});
    ASSERT_EQ(blocks.size(), 1U);
    EXPECT_EQ(blocks[0].bytes, "time,x\n1,2\n");
  }
}

TEST(BlockReader, RowsAndBytesBoundABlock) {
  std::string text;
  for (int i = 0; i < 100; ++i) text += "12345678\n";
  for (const CsvBlock& block : blocks_of(text, 1000, {.max_rows = 7, .max_bytes = 1000}))
    EXPECT_LE(block.bytes.size(), 63U);
  for (const CsvBlock& block : blocks_of(text, 1000, {.max_rows = 1000, .max_bytes = 20}))
    EXPECT_LE(block.bytes.size(), 27U);
}

TEST(BlockReader, GivesWhatThereIsWhenTheSourceWouldBlock) {
  std::string arrived = "a\nb\nc";
  bool ended = false;
  BlockReader reader({.read =
                          [&](char* to, std::size_t) {
                            const std::size_t size = arrived.copy(to, arrived.size());
                            arrived.clear();
                            return size;
                          },
                      .ready = [&] { return ended || !arrived.empty(); }});
  CsvBlock block;
  const BlockReader::Limits limits{.max_rows = 100, .max_bytes = 1000};
  EXPECT_EQ(reader.next(block, limits, BlockReader::Mode::try_only), BlockReader::Result::not_ready);
  EXPECT_EQ(reader.next(block, limits, BlockReader::Mode::wait), BlockReader::Result::block);
  EXPECT_EQ(block.bytes, "a\nb\n");
  EXPECT_EQ(reader.next(block, limits, BlockReader::Mode::try_only), BlockReader::Result::not_ready);
  ended = true;
  EXPECT_EQ(reader.next(block, limits, BlockReader::Mode::wait), BlockReader::Result::block);
  EXPECT_EQ(block.bytes, "c");
  EXPECT_EQ(block.first_line, 3);
  EXPECT_EQ(reader.next(block, limits, BlockReader::Mode::wait), BlockReader::Result::end);
}

TEST(BlockReader, AnOpenQuoteCannotTakeAllMemory) {
  std::size_t given = 0;
  BlockReader reader({.read = [&](char* to, std::size_t size) {
    std::fill_n(to, size, given == 0 ? '"' : 'x');
    if (given == 0) std::fill_n(to + 1, size - 1, 'x');
    given += size;
    return size;
  }});
  CsvBlock block;
  EXPECT_THROW((void)reader.next(block, {.max_rows = 10, .max_bytes = 1000}, BlockReader::Mode::wait), CsvError);
  EXPECT_LT(given, 2 * kMaxRecordBytes);
}

}  // namespace
}  // namespace regfeatd::cli
