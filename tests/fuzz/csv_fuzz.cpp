// The CSV reader of `regfeatd fit`: whatever the bytes and wherever the stream is cut, records are those of the whole
// text, numbers and times are read or refused, and rows placed and fitted in blocks give what one block gives.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "cli/csv_reader.hpp"
#include "cli/csv_writer.hpp"
#include "cli/fit_stream.hpp"
#include "cli/fit_table.hpp"
#include "cli/window_list.hpp"
#include "regfeatd/base/fault.hpp"

namespace {

using namespace regfeatd;
using namespace regfeatd::cli;

void require(bool condition) {
  if (!condition) std::abort();
}

struct Whole {
  std::vector<std::vector<std::string>> records;
  std::string error;
};

void read_into(Whole& whole, std::string_view bytes, std::int64_t first_line) {
  RecordReader reader(bytes, first_line);
  std::vector<Field> fields;
  std::string scratch;
  try {
    while (reader.next(fields)) {
      std::vector<std::string>& record = whole.records.emplace_back();
      for (const Field& field : fields) record.emplace_back(field_value(field, scratch));
    }
  } catch (const CsvError& e) {
    whole.error = std::to_string(e.line()) + ": " + e.what();
  }
}

ByteSource source_of(std::string_view text, std::size_t step) {
  return {.read = [text, step](char* to, std::size_t size) mutable {
    const std::size_t count = text.copy(to, std::min(size, step));
    text.remove_prefix(count);
    return count;
  }};
}

/// A misplaced quote makes the cutter see record ends elsewhere, so what follows the first error is not compared.
void check_cutting(std::string_view text, std::size_t step, BlockReader::Limits limits) {
  Whole whole;
  read_into(whole, text, 1);
  Whole cut;
  BlockReader reader(source_of(text, step));
  CsvBlock block;
  std::string joined;
  while (reader.next(block, limits, BlockReader::Mode::wait) == BlockReader::Result::block) {
    joined += block.bytes;
    if (cut.error.empty()) read_into(cut, block.bytes, block.first_line);
  }
  require(joined == text);
  require(cut.records == whole.records);
  require(cut.error == whole.error);
}

/// What the writer makes of the records reads back as the same records.
void check_writing(std::string_view text) {
  Whole whole;
  read_into(whole, text, 1);
  std::string written;
  for (const auto& record : whole.records) {
    for (std::size_t i = 0; i < record.size(); ++i) {
      if (i > 0) written += ',';
      append_field(written, record[i]);
    }
    if (record.size() == 1 && record[0].empty()) written += "\"\"";  // an empty line would be skipped
    written += '\n';
  }
  Whole again;
  read_into(again, written, 1);
  require(again.error.empty() && again.records == whole.records);
}

std::string fit_all(std::string_view text, BlockReader::Limits limits, bool interleaved, OrderKind order) {
  TableLayout layout;
  layout.file = "in";
  layout.header = {"t", "k", "x"};
  layout.order_kind = order;
  layout.key_columns = {1};
  layout.value_columns = {2};
  layout.input_names = {"x"};
  const fit::Plan plan{parse_windows("3,5:offset=1", order), parse_metrics("terms")};
  std::string result;
  BlockReader reader(source_of(text, 4096));
  try {
    fit_stream({}, reader, layout, plan, {.interleaved = interleaved, .from = {}, .to = {}}, {.threads = 1, .limits = limits},
               [&](std::string_view lines, std::uint64_t) {
                 result += lines;
                 return true;
               });
  } catch (const Fault& e) {
    result += e.what();
  }
  return result;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const std::size_t step = 1 + data[0] % 16;
  const BlockReader::Limits limits{.max_rows = 1 + data[1] % 8U, .max_bytes = 1 + data[1] / 4U};
  const std::string_view text(reinterpret_cast<const char*>(data) + 2, size - 2);
  if (!text.starts_with("\xEF\xBB\xBF")) check_cutting(text, step, limits);
  check_writing(text);
  (void)parse_value(text);
  (void)parse_sequence(text);
  (void)parse_time(text);
  const OrderKind order = data[0] & 16 ? OrderKind::time : OrderKind::sequence;
  const bool interleaved = (data[0] & 32) != 0;
  const BlockReader::Limits all{.max_rows = 64, .max_bytes = 1U << 20};
  require(fit_all(text, limits, interleaved, order) == fit_all(text, all, interleaved, order));
  return 0;
}
