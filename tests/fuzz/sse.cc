// Server-sent events: a byte for what is asked, 4 bytes for where bytes are cut, and the bytes. What the server writes, the client
// reads; any bytes are read as the standard says, however they are cut; and so is an answer made of them.
#include "server/sse.h"

#include "bench_client/answer_reader.h"
#include "bench_client/record.h"
#include "bench_client/sse_reader.h"
#include "tests/fuzz/fuzz.h"

namespace sluice::fuzz {
namespace {

using Events = std::vector<std::string>;

Events read(std::string_view bytes, const std::vector<size_t>& cuts) {
  bench::SseReader reader;
  Events events;
  each_piece(bytes, cuts, [&](std::string_view piece) {
    SLUICE_HOLDS(reader.feed(piece, [&](std::string_view data) { events.emplace_back(data); }));
  });
  return events;
}

std::vector<std::string> lines_of(std::string_view text) {
  std::vector<std::string> lines;
  for (;;) {
    const size_t end = text.find_first_of("\r\n");
    lines.emplace_back(text.substr(0, end));
    if (end == std::string_view::npos) return lines;
    text.remove_prefix(end + (text.substr(end, 2) == "\r\n" ? 2 : 1));
  }
}

// HTML Standard, 9.2.6, for the data alone.
Events by_the_standard(std::string_view bytes) {
  if (bytes.starts_with("\xEF\xBB\xBF")) bytes.remove_prefix(3);
  Events events;
  std::vector<std::string> lines = lines_of(bytes);
  lines.pop_back();  // which no line end has followed
  std::string data;
  bool has_data = false;
  for (const std::string& line : lines) {
    if (line.empty()) {
      if (has_data) events.push_back(data.substr(0, data.size() - 1));
      data.clear(), has_data = false;
      continue;
    }
    const size_t colon = std::min(line.find(':'), line.size());
    std::string value = line.substr(std::min(colon + 1, line.size()));
    if (value.starts_with(' ')) value.erase(0, 1);
    if (line.substr(0, colon) == "data") data += value + "\n", has_data = true;
  }
  return events;
}

std::string joined(const std::vector<std::string>& lines) {
  std::string text;
  for (size_t i = 0; i < lines.size(); ++i) text += (i ? "\n" : "") + lines[i];
  return text;
}

void check_writing(std::string_view text, uint64_t seed) {
  const size_t middle = text.size() / 2;
  const std::string_view name = text.substr(0, middle), data = text.substr(middle);
  const std::string stream = sse_comment(name) + sse_event(data, name) + sse_comment(data) + sse_event(name);
  const Events wanted = {joined(lines_of(data)), joined(lines_of(name))};
  SLUICE_HOLDS(read(stream, {}) == wanted, stream);
  SLUICE_HOLDS(read(stream, random_cuts(seed, stream.size())) == wanted, stream);
}

void check_reading(std::string_view bytes, uint64_t seed) {
  const Events whole = read(bytes, {});
  SLUICE_HOLDS(whole == by_the_standard(bytes), joined(whole) + "\n--- by the standard:\n" + joined(by_the_standard(bytes)));
  SLUICE_HOLDS(read(bytes, random_cuts(seed, bytes.size())) == whole);
}

std::string answer(std::string_view bytes, const std::vector<size_t>& cuts, bool chat) {
  bench::RequestRecord record;
  bench::AnswerReader reader(chat, record);
  each_piece(bytes, cuts, [&](std::string_view piece) { reader.feed(piece, 1); });
  reader.finish(2);
  SLUICE_HOLDS(record.ok() || !record.error.empty());
  return record.error + "|" + record.detail + "|" + std::to_string(record.output_tokens) + "|" + reader.text();
}

void check_answer(std::string_view bytes, uint64_t seed, bool chat) {
  SLUICE_HOLDS(answer(bytes, {}, chat) == answer(bytes, random_cuts(seed, bytes.size()), chat));
}

}  // namespace

void fuzz_one(std::string_view bytes) {
  Input in(bytes);
  const unsigned what = in.below(4);
  const uint64_t seed = in.number(4);
  if (what == 0) check_writing(in.rest(), seed);
  else if (what == 1) check_reading(in.rest(), seed);
  else check_answer(in.rest(), seed, what == 2);
}

}  // namespace sluice::fuzz
