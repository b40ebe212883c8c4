#include "server/exposition.h"

#include <charconv>
#include <cmath>

namespace sluice {
namespace {

std::string number(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
  char digits[32];
  return {digits, std::to_chars(digits, digits + sizeof digits, value).ptr};
}

// `quotes`: within a label's value.
void append_escaped(std::string& out, std::string_view text, bool quotes) {
  for (const char c : text) {
    if (c == '\n') out += "\\n";
    else if (c == '\\') out += "\\\\";
    else if (c == '"' && quotes) out += "\\\"";
    else out += c;
  }
}

}  // namespace

void Exposition::family(std::string_view name, std::string_view type, std::string_view help) {
  name_ = name;
  text_.append("# HELP ").append(name).append(" ");
  append_escaped(text_, help, false);
  text_.append("\n# TYPE ").append(name).append(" ").append(type).append("\n");
}

void Exposition::begin_line(std::string_view suffix, const MetricLabels& labels) {
  text_.append(name_).append(suffix);
  char before = '{';
  for (const auto& [name, value] : labels) {
    text_ += before;
    text_.append(name).append("=\"");
    append_escaped(text_, value, true);
    text_ += '"';
    before = ',';
  }
  text_ += labels.empty() ? " " : "} ";
}

void Exposition::sample(const MetricLabels& labels, int64_t value) {
  begin_line("", labels);
  text_.append(std::to_string(value)).append("\n");
}

void Exposition::sample(const MetricLabels& labels, double value) {
  begin_line("", labels);
  text_.append(number(value)).append("\n");
}

void Exposition::sample(const MetricLabels& labels, const HistogramCounts& h) {
  MetricLabels with_bound = labels;
  with_bound.emplace_back("le", "");
  int64_t up_to = 0;
  for (size_t i = 0; i < h.counts.size(); ++i) {
    const std::string bound = i < h.bounds.size() ? number(h.bounds[i]) : "+Inf";
    with_bound.back().second = bound;
    up_to += h.counts[i];
    begin_line("_bucket", with_bound);
    text_.append(std::to_string(up_to)).append("\n");
  }
  begin_line("_sum", labels);
  text_.append(number(h.sum)).append("\n");
  begin_line("_count", labels);
  text_.append(std::to_string(up_to)).append("\n");
}

}  // namespace sluice
