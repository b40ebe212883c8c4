// A small bar chart as SVG.
#pragma once

#include <string>
#include <vector>

#include "base/status.h"

namespace sluice::cli {

struct Bar {
  std::string label;
  double value = 0, deviation = 0;  // drawn as a whisker
};

// Horizontal bars on one linear scale from zero. The file is written whole or not at all.
Status write_bar_chart(const std::string& path, const std::string& title, const std::vector<Bar>& bars);

}  // namespace sluice::cli
