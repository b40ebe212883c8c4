// Reads Prometheus' text format, strictly, for tests.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <sstream>
#include <string>

namespace sluice::testing {

struct MetricsText {
  std::map<std::string, std::string> types;  // of each family
  std::map<std::string, double> samples;     // by the line's text before the value

  double value(const std::string& series) const {
    const auto it = samples.find(series);
    if (it == samples.end()) ADD_FAILURE() << "there is no " << series;
    return it == samples.end() ? -1 : it->second;
  }
};

// The family of a sample's line, which must be the one in hand.
inline bool belongs(const std::string& series, const std::string& family, const std::string& type) {
  const std::string name = series.substr(0, series.find('{'));
  if (type != "histogram") return name == family;
  return name == family + "_bucket" || name == family + "_sum" || name == family + "_count";
}

// Fails the test at lines that are out of place: a sample outside its family, a series or family that comes twice.
inline MetricsText read_metrics(const std::string& text) {
  MetricsText out;
  std::istringstream lines(text);
  std::string line, family;
  EXPECT_TRUE(text.empty() || text.back() == '\n');
  while (std::getline(lines, line)) {
    if (line.rfind("# HELP ", 0) == 0) {
      family = line.substr(7, line.find(' ', 7) - 7);
      EXPECT_EQ(out.types.count(family), 0u) << family << " comes twice";
      EXPECT_GT(line.size(), 8 + family.size()) << family << " has no help";
      EXPECT_TRUE(std::getline(lines, line));
      EXPECT_EQ(line.rfind("# TYPE " + family + " ", 0), 0u) << line;
      out.types[family] = line.substr(line.rfind(' ') + 1);
      continue;
    }
    const size_t space = line.rfind(' ');
    EXPECT_NE(space, std::string::npos) << line;
    const std::string series = line.substr(0, space);
    EXPECT_TRUE(belongs(series, family, out.types[family])) << line << " under " << family;
    char* end = nullptr;
    const double value = std::strtod(line.c_str() + space + 1, &end);
    EXPECT_EQ(*end, '\0') << line;
    EXPECT_TRUE(out.samples.emplace(series, value).second) << series << " comes twice";
  }
  return out;
}

}  // namespace sluice::testing
