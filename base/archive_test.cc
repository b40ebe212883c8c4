#include "base/archive.h"

#include <gtest/gtest.h>

namespace sluice {

struct Parcel {
  int number = 0;
  std::string name;
  std::vector<double> weights;
  std::map<std::string, int, std::less<>> counts;
  std::set<std::string, std::less<>> names;
  bool operator==(const Parcel&) const = default;
};

template <class F>
void each_field(Parcel& p, F&& f) {
  auto& [number, name, weights, counts, names] = p;
  f(number), f(name), f(weights), f(counts), f(names);
}

namespace {

const Parcel kParcel{-5, std::string("a\0b", 3), {1.5, -2}, {{"x", 1}, {"", 2}}, {"one", "two"}};

std::vector<std::byte> packed() {
  Packer pack;
  pack(kParcel);
  return pack.take();
}

TEST(Archive, ComesBackAsItWas) {
  const std::vector<std::byte> bytes = packed();
  Parcel back{.number = 9, .name = "old", .weights = {3}, .counts = {{"old", 1}}, .names = {"old"}};
  Unpacker unpack(bytes);
  unpack(back);
  EXPECT_TRUE(unpack.finish().ok());
  EXPECT_EQ(back, kParcel);
}

TEST(Archive, WhatIsCutOrTooLongIsRefused) {
  const std::vector<std::byte> bytes = packed();
  for (size_t size = 0; size < bytes.size(); ++size) {
    Parcel back;
    Unpacker unpack({bytes.data(), size});
    unpack(back);
    EXPECT_FALSE(unpack.finish().ok()) << size;
  }
  std::vector<std::byte> longer = bytes;
  longer.push_back({});
  Parcel back;
  Unpacker unpack(longer);
  unpack(back);
  EXPECT_FALSE(unpack.finish().ok());
}

}  // namespace
}  // namespace sluice
