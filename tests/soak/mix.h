// The soak's requests: what is sent, when its client leaves, and what must come of it. Equal seeds and numbers give equal requests.
#pragma once

#include <cstdint>
#include <string>

#include "bench_client/http_client.h"

namespace sluice::soak {

constexpr int64_t kContext = 4096;  // tokens: what the server is started with

enum class Kind { kPlain, kTools, kBad, kAborted };

struct Shot {
  Kind kind = Kind::kPlain;
  std::string name;  // for messages
  bench::HttpClient::Call call;
  int status = 200;
  bool by_engine = false;  // who refuses it
  bool wrong_key = false;
  bool chat = false, stream = false;
  int64_t choices = 1, max_tokens = 0;
  std::string same;  // shots with equal ones get the same answer
};

// 30 % are aborted, 10 % bad, 20 % have tools.
Shot shot(uint64_t seed, int64_t number);

}  // namespace sluice::soak
