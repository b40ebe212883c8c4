#include "bench_client/workload.h"

#include <algorithm>
#include <boost/json.hpp>
#include <fstream>

#include "bench_client/random.h"

namespace sluice::bench {
namespace {

namespace json = boost::json;

// Kinds of streams of random numbers, so that none meets another.
constexpr uint64_t kInputStream = 1ull << 60, kPrefixStream = 2ull << 60, kTurnStream = 3ull << 60;

// Ids below this are special tokens or single bytes in most vocabularies.
constexpr int64_t kFirstId = 16;

constexpr const char* kWords[] = {
    "time",    "year",   "people", "way",   "day",   "man",  "thing", "life",   "child",  "world",   "school", "state",   "family",
    "group",   "hand",   "part",   "place", "case",  "week", "work",  "point",  "water",  "room",    "area",   "money",   "story",
    "fact",    "month",  "lot",    "right", "study", "book", "eye",   "job",    "word",   "side",    "kind",   "head",    "house",
    "service", "friend", "power",  "hour",  "game",  "line", "end",   "member", "law",    "car",     "city",   "name",    "team",
    "minute",  "idea",   "body",   "back",  "door",  "art",  "war",   "party",  "result", "morning", "reason", "research"};

json::object message(const char* role, std::string text) { return {{"role", role}, {"content", std::move(text)}}; }

}  // namespace

std::string random_words(Random& random, int64_t count) {
  std::string text;
  for (int64_t i = 0; i < count; ++i) {
    if (i > 0) text += ' ';
    text += kWords[random.below(std::size(kWords))];
  }
  return text;
}

json::array Workload::token_ids(int64_t session) const {
  const WorkloadOptions& o = options_;
  json::array ids;
  ids.reserve(size_t(o.prefix_len + o.input_len));
  const auto draw = [&](uint64_t stream, int64_t count) {
    Random random(o.seed, stream);
    const int64_t first = o.vocab_size > 2 * kFirstId ? kFirstId : 0;
    for (int64_t i = 0; i < count; ++i) ids.push_back(first + int64_t(random.below(uint64_t(o.vocab_size - first))));
  };
  draw(kPrefixStream + uint64_t(session % o.num_prefixes), o.prefix_len);
  draw(kInputStream + uint64_t(session), o.input_len);
  return ids;
}

RequestText Workload::complete(json::object body, bool chat) const {
  body["stream"] = true;
  body["stream_options"] = {{"include_usage", true}};
  for (const auto& [key, value] : options_.extra) body[key] = value;
  return {chat ? "/v1/chat/completions" : "/v1/completions", json::serialize(body), chat};
}

RequestText Workload::from_row(const json::object& row) const {
  json::object body{{"model", options_.model}, {"max_tokens", options_.output_len}};
  for (const auto& [key, value] : row) body[key == "output_len" ? json::string_view("max_tokens") : key] = value;
  bool chat = body.contains("messages");
  if (const json::value* prompt = body.if_contains("prompt"); options_.chat && !chat && prompt && prompt->is_string()) {
    body["messages"] = json::array{message("user", std::string(prompt->get_string()))};
    body.erase("prompt");
    chat = true;
  }
  const json::value* prompt = body.if_contains("prompt");
  const int64_t known = prompt && prompt->is_array() ? int64_t(prompt->get_array().size()) : 0;
  RequestText text = complete(std::move(body), chat);
  text.input_tokens = known;
  return text;
}

RequestText Workload::request(int64_t session, int64_t turn, json::array& history) const {
  const WorkloadOptions& o = options_;
  if (!o.rows.empty()) return from_row(o.rows[size_t(session) % o.rows.size()]);
  json::object body{{"model", o.model}, {"max_tokens", o.output_len}, {"temperature", 0}};
  if (o.ignore_eos) body["ignore_eos"] = true;
  const bool chat = o.chat || o.turns > 1;
  if (!chat) {
    body["prompt"] = token_ids(session);
    RequestText text = complete(std::move(body), false);
    text.input_tokens = o.prefix_len + o.input_len;
    return text;
  }
  const auto words = [&](uint64_t stream, int64_t count) {
    Random random(o.seed, stream);
    return random_words(random, count);
  };
  if (turn == 0 && o.prefix_len > 0)
    history.push_back(message("system", words(kPrefixStream + uint64_t(session % o.num_prefixes), o.prefix_len)));
  history.push_back(message("user", words(kTurnStream + uint64_t(session * o.turns + turn), o.input_len)));
  body["messages"] = history;
  return complete(std::move(body), true);
}

Result<std::vector<json::object>> read_prompts(const std::string& path) {
  std::ifstream f(path, std::ios::binary);
  if (!f) return Status(Code::kNotFound, path + ": cannot be read", "give --prompts a JSONL file");
  std::vector<json::object> rows;
  std::string line;
  for (int64_t number = 1; std::getline(f, line); ++number) {
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    const std::string where = path + ":" + std::to_string(number);
    boost::system::error_code ec;
    json::value v = json::parse(line, ec);
    if (ec) return bad_file(where + ": not JSON: " + ec.message());
    if (v.is_string() || v.is_array()) v = json::object{{"prompt", std::move(v)}};
    if (!v.is_object() || v.get_object().contains("prompt") == v.get_object().contains("messages"))
      return bad_file(where + ": neither a prompt nor an object with one of 'prompt' and 'messages'");
    rows.push_back(std::move(v.get_object()));
  }
  if (rows.empty()) return bad_file(path + ": has no prompts");
  return rows;
}

}  // namespace sluice::bench
