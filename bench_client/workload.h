// What is asked: random tokens, shared prefixes, conversations, or the rows of a file. Equal seeds give equal requests, byte for
// byte.
#pragma once

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"
#include "bench_client/random.h"

namespace sluice::bench {

struct WorkloadOptions {
  std::string model;
  int64_t input_len = 512, output_len = 128;  // tokens; words where text is sent
  int64_t prefix_len = 0, num_prefixes = 1;   // before the input, shared by every num_prefixes-th request
  int64_t turns = 1;                          // over 1: conversations
  int64_t vocab_size = 2000;
  bool chat = false;  // text through /v1/chat/completions, also for single turns
  bool ignore_eos = true;
  uint64_t seed = 0;
  std::vector<boost::json::object> rows;  // of a file, sent in turn, again from the first when they run out
  boost::json::object extra;              // fields that every request gets last
};

struct RequestText {
  std::string path, body;
  bool chat = false;
  int64_t input_tokens = 0;  // as far as known before the server says
};

class Workload {
 public:
  explicit Workload(WorkloadOptions options) : options_(std::move(options)) {}

  int64_t turns() const { return options_.rows.empty() ? options_.turns : 1; }
  // A turn of a conversation; `history` has the messages so far, and gets the new one.
  RequestText request(int64_t session, int64_t turn, boost::json::array& history) const;

 private:
  boost::json::array token_ids(int64_t session) const;
  RequestText from_row(const boost::json::object& row) const;
  RequestText complete(boost::json::object body, bool chat) const;

  WorkloadOptions options_;
};

// Short and common words, about a token each in large vocabularies.
std::string random_words(Random& random, int64_t count);

// A line is a prompt (string or token ids) or an object: a request with "prompt" or "messages" and any other field, where
// "output_len" stands for max_tokens.
Result<std::vector<boost::json::object>> read_prompts(const std::string& path);

}  // namespace sluice::bench
