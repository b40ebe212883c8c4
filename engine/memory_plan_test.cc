#include "engine/memory_plan.h"

#include <gtest/gtest.h>

namespace sluice {
namespace {

constexpr size_t kMiB = size_t(1) << 20, kGiB = size_t(1) << 30;

// A GPU of 64 GiB whose weights and workspace are in place; a sequence of 8192 tokens takes 1 GiB of keys.
MemoryNeeds on_gpu() {
  return {.bounded = true,
          .free = 34 * kGiB,
          .weights = 27 * kGiB,
          .workspace = 3 * kGiB,
          .slot_bytes = 200 * kMiB,
          .page_bytes = 8 * kMiB,
          .max_sequences = 4,
          .allowed_context = 8192};
}

size_t sum(const MemoryPlan& p) { return p.state + p.keys + p.reserve + p.left; }

TEST(MemoryPlan, SequencesAtFullLengthAndOneMore) {
  const MemoryPlan p = plan_memory(on_gpu()).value();
  EXPECT_EQ(p.state_slots, 5);
  EXPECT_EQ(p.kv_pages, 5 * 128);
  EXPECT_EQ(p.max_context, 8192);
  EXPECT_EQ(p.state, 1000 * kMiB);
  EXPECT_EQ(p.keys, 5 * kGiB);
  EXPECT_EQ(sum(p), 34 * kGiB);
  EXPECT_EQ(
      describe(p, 64),
      "weights 27.0 GiB, state 1000 MiB (5 slots), keys and values 5.0 GiB (40960 tokens), workspace 3.0 GiB, kept for graphs and "
      "libraries 1.1 GiB, left 27.0 GiB");
}

TEST(MemoryPlan, ACacheHasItsShareAndKeysTakeWhatIsLeft) {
  MemoryNeeds n = on_gpu();
  n.room_for_cache = true, n.max_sequences = 64;
  const MemoryPlan p = plan_memory(n).value();
  EXPECT_EQ(p.state_slots, 65) << "a share of 50 slots does not hold the sequences themselves";
  EXPECT_EQ(p.kv_pages, int64_t((34 * kGiB - p.reserve - p.state) / n.page_bytes));
  EXPECT_EQ(sum(p), 34 * kGiB);
  n.max_sequences = 8;
  EXPECT_EQ(plan_memory(n).value().state_slots, 50) << "three tenths of the free memory";
  EXPECT_EQ(plan_memory(n).value().kv_pages, 8 * 128) << "no more than all can use";
}

TEST(MemoryPlan, WhatTheOptionsSayIsTaken) {
  MemoryNeeds n = on_gpu();
  n.state_slots = 7, n.kv_tokens = 1000, n.speculate = 2;
  const MemoryPlan p = plan_memory(n).value();
  EXPECT_EQ(p.state_slots, 7);
  EXPECT_EQ(p.kv_pages, 16);
  EXPECT_EQ(p.max_context, 1024 - 2) << "a sequence by itself always fits, with its drafts";
}

TEST(MemoryPlan, TheModelsOwnContextGivesWay) {
  MemoryNeeds n = on_gpu();
  n.allowed_context = 1 << 20;
  const MemoryPlan p = plan_memory(n).value();
  EXPECT_LT(p.max_context, 1 << 20);
  EXPECT_EQ(p.max_context, p.kv_pages * 64);
  EXPECT_EQ(sum(p), 34 * kGiB);
}

// Each hint, when it is followed, gives a plan.
TEST(MemoryPlan, RefusalsSayWhatWouldFit) {
  const auto refused = [](const MemoryNeeds& n, const std::string& words, const std::string& hint) {
    const auto p = plan_memory(n);
    ASSERT_FALSE(p.ok()) << words;
    EXPECT_NE(p.status().message().find(words), std::string::npos) << p.status().to_string();
    EXPECT_EQ(p.status().hint(), hint) << p.status().to_string();
  };
  MemoryNeeds n = on_gpu();
  n.max_sequences = 300;
  refused(n, "301 state slots need 58.8 GiB, and 32.9 GiB are left", "lower --max-running-requests to 167");
  n.max_sequences = 167;
  EXPECT_TRUE(plan_memory(n).ok());
  n.max_sequences = 168;
  EXPECT_FALSE(plan_memory(n).ok());

  n = on_gpu();
  n.state_slots = 1000;
  refused(n, "1000 state slots need", "lower --state-slots to 168");
  n.state_slots = 168;
  EXPECT_TRUE(plan_memory(n).ok());

  n = on_gpu();
  n.free = 2000 * kMiB + 2000 * kMiB / 31 + kMiB, n.state_slots = 10;  // all but what is kept for graphs
  refused(n, "10 state slots need", "lower --state-slots to 9");

  n = on_gpu();
  n.kv_tokens = 1 << 20;
  refused(n, "keys and values of 1048576 tokens need 128.0 GiB, and 32.0 GiB are left", "lower --kv-tokens to 261824");
  n.kv_tokens = 261824;
  EXPECT_TRUE(plan_memory(n).ok());
  n.kv_tokens += 1;
  EXPECT_FALSE(plan_memory(n).ok());

  n = on_gpu();
  n.allowed_context = n.max_context = 1 << 20, n.speculate = 3;
  refused(n, "a sequence of 1048576 tokens needs", "lower --max-context to 261821");
  n.max_context = 261821;
  EXPECT_EQ(plan_memory(n).value().max_context, 261821);
  n.max_context += 1;
  EXPECT_FALSE(plan_memory(n).ok());

  n = on_gpu();
  n.free = 100 * kMiB;
  refused(n, "5 state slots need", "the device is too small for this model");

  n = on_gpu();
  n.state_slots = 3;
  EXPECT_EQ(plan_memory(n).value().state_slots, 3);
  n.room_for_cache = true;
  refused(n, "--state-slots is 3, less than --max-running-requests, 4",
          "each running request needs a slot, and the prefix cache some more");
}

// There pages are taken when they are first written: what is asked for is given, and shares are of what is free now.
TEST(MemoryPlan, OnTheCpuNothingIsRefused) {
  MemoryNeeds n = on_gpu();
  n.bounded = false, n.free = kGiB, n.kv_tokens = 1 << 20, n.state_slots = 1000;
  const MemoryPlan p = plan_memory(n).value();
  EXPECT_EQ(p.kv_pages, (1 << 20) / 64);
  EXPECT_EQ(p.state_slots, 1000);
  EXPECT_EQ(describe(p, 64).find("left"), std::string::npos);
  n = on_gpu();
  n.bounded = false, n.room_for_cache = true, n.free = 40 * kGiB;
  EXPECT_EQ(plan_memory(n).value().state_slots, 40) << "a fifth";
  n.max_sequences = 1000;
  EXPECT_EQ(plan_memory(n).value().kv_pages, int64_t(16 * kGiB / n.page_bytes)) << "two fifths";
}

}  // namespace
}  // namespace sluice
