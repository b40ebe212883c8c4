#include "base/status.h"

#include <gtest/gtest.h>

#include <stdexcept>

#include "base/out_of_memory.h"

namespace sluice {
namespace {

TEST(Status, IsShownOnOneLineWithItsHint) {
  EXPECT_EQ(Status().to_string(), "");
  EXPECT_EQ(invalid("x is 3").to_string(), "x is 3");
  EXPECT_EQ(invalid("x is 3", "write 4").to_string(), "x is 3; write 4");
}

TEST(Status, SeenFromFurtherOutSaysWhereAndKeepsTheRest) {
  const Status far = bad_file("no header", "fetch it again").in("weights").in("model");
  EXPECT_EQ(far.to_string(), "model: weights: no header; fetch it again");
  EXPECT_EQ(far.code(), Code::kBadFile);
  EXPECT_TRUE(ok_status().in("model").ok());
  EXPECT_EQ(ok_status().in("model").to_string(), "");
}

Result<int> half_of(int n) {
  if (n % 2 != 0) return invalid(std::to_string(n) + " is odd");
  return n / 2;
}

Result<int> quarter_of(int n) {
  SLUICE_ASSIGN_OR_RETURN(const int half, half_of(n));
  return half_of(half);
}

TEST(Result, IsAValueOrTheReasonWhyThereIsNone) {
  EXPECT_EQ(*quarter_of(12), 3);
  EXPECT_TRUE(quarter_of(12).status().ok());
  EXPECT_EQ(quarter_of(7).status().message(), "7 is odd");
  EXPECT_EQ(quarter_of(6).status().message(), "3 is odd");
}

TEST(OutOfMemory, IsAStatusAndOtherResultsStay) {
  const auto throws = []() -> Status { throw std::bad_alloc(); };
  EXPECT_EQ(or_out_of_memory(throws).code(), Code::kResourceExhausted);
  EXPECT_EQ(or_out_of_memory(throws).message(), "out of memory");
  EXPECT_EQ(*or_out_of_memory([] { return half_of(4); }), 2);
  EXPECT_EQ(or_out_of_memory([] { return half_of(5); }).status().message(), "5 is odd");
  EXPECT_THROW(or_out_of_memory([]() -> Status { throw std::runtime_error("another"); }).ok(), std::runtime_error);
}

}  // namespace
}  // namespace sluice
