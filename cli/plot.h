// Small charts as SVG: bars, and panels of lines.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/status.h"

namespace sluice::cli {

struct Bar {
  std::string label;
  double value = 0, deviation = 0;  // drawn as a whisker
};

// Horizontal bars on one linear scale from zero. The file is written whole or not at all.
Status write_bar_chart(const std::string& path, const std::string& title, const std::vector<Bar>& bars);

struct Line {
  std::string label;  // shown where a panel has several
  std::vector<std::pair<double, double>> points;
  bool steps = false;  // a value holds until the next point
};

struct Panel {
  std::string title, x_label;
  std::vector<Line> lines;
  bool log_x = false;  // points that are not positive are left out
};

// The share of the values (0 to 1) at or below each, in at most 400 points.
Line cumulative(std::string label, std::vector<double> values);

// Panels two by two; y begins at zero. A panel without points says so. The file is written whole or not at all.
Status write_line_charts(const std::string& path, const std::string& title, const std::vector<Panel>& panels);

}  // namespace sluice::cli
