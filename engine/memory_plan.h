// What a device's memory is given to, decided once, when the weights lie in it. Arithmetic alone: nothing here asks a device.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "base/status.h"

namespace sluice {

// Bytes, but for the last three.
struct MemoryPlan {
  size_t weights = 0, workspace = 0, state = 0, keys = 0;
  size_t reserve = 0;  // kept free: recorded graphs, and what libraries take by themselves
  size_t left = 0;
  int64_t state_slots = 0, kv_pages = 0;
  int64_t max_context = 0;  // tokens of a sequence
};

struct MemoryNeeds {
  bool bounded = false;               // `free` is all there is, as on a GPU; on the CPU pages are taken when they are first written
  size_t free = 0;                    // bytes for pools and reserve
  size_t weights = 0, workspace = 0;  // are there already
  size_t slot_bytes = 0, page_bytes = 0;
  int64_t page_tokens = 64;
  int64_t max_sequences = 1, state_slots = 0, kv_tokens = 0;  // what the options say, 0: what suits
  int64_t allowed_context = 0, max_context = 0;               // by the model, and by the option; 0: none
  int64_t speculate = 0;                                      // tokens that a sequence has beyond its context
  bool room_for_cache = false;                                // slots and pages beyond those of the running sequences
};

// An error says which option is too large and what would do.
Result<MemoryPlan> plan_memory(const MemoryNeeds& needs);

// "weights 1443 MiB, state 34 MiB (64 slots), keys and values 1.2 GiB (98304 tokens), workspace ..., left ..."
std::string describe(const MemoryPlan& plan, int64_t page_tokens);

}  // namespace sluice
