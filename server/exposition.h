// Prometheus' text format, version 0.0.4: families of samples, as a scraper reads them.
//
// Written here and not with prometheus-cpp: its histograms take a lock for each value, which the engine's thread would do for each
// token, and counts that are kept elsewhere (EngineLoop, HttpServer) would have to be counted a second time.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/histogram.h"

namespace sluice {

using MetricLabels = std::vector<std::pair<std::string_view, std::string_view>>;

class Exposition {
 public:
  // Every family begins with this; samples that follow are its own. type: "gauge", "counter" or "histogram".
  void family(std::string_view name, std::string_view type, std::string_view help);
  void sample(const MetricLabels& labels, int64_t value);
  void sample(const MetricLabels& labels, double value);
  // Buckets, sum and count.
  void sample(const MetricLabels& labels, const HistogramCounts& counts);

  const std::string& text() const { return text_; }

 private:
  void begin_line(std::string_view suffix, const MetricLabels& labels);

  std::string name_, text_;
};

}  // namespace sluice
