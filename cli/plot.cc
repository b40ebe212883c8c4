#include "cli/plot.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstdio>
#include <fstream>

namespace sluice::cli {
namespace {

std::string escape(const std::string& s) {
  std::string r;
  for (const char c : s) {
    if (c == '&') r += "&amp;";
    else if (c == '<') r += "&lt;";
    else r += c;
  }
  return r;
}

std::string draw(const std::string& title, const std::vector<Bar>& bars) {
  constexpr int kWidth = 720, kLeft = 180, kRight = 110, kTop = 48, kRow = 40, kBar = 22;  // pixels
  double most = 1e-9;
  for (const Bar& b : bars) most = std::max(most, b.value + b.deviation);
  const double scale = (kWidth - kLeft - kRight) / most;
  const int height = kTop + int(bars.size()) * kRow + 16;
  std::string svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0} {1}\" width=\"{0}\" height=\"{1}\" font-family=\"sans-serif\" "
      "font-size=\"14\">\n"
      "<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n<text x=\"16\" y=\"28\" font-size=\"16\" "
      "fill=\"#1a2b3c\">{2}</text>\n",
      kWidth, height, escape(title));
  for (size_t i = 0; i < bars.size(); ++i) {
    const Bar& b = bars[i];
    const int y = kTop + int(i) * kRow;
    const double end = kLeft + b.value * scale, low = kLeft + std::max(0.0, b.value - b.deviation) * scale,
                 high = kLeft + (b.value + b.deviation) * scale;
    svg += fmt::format("<text x=\"{}\" y=\"{}\" text-anchor=\"end\" fill=\"#1a2b3c\">{}</text>\n", kLeft - 10, y + 16,
                       escape(b.label));
    svg +=
        fmt::format("<rect x=\"{}\" y=\"{}\" width=\"{:.1f}\" height=\"{}\" fill=\"#2f7fb8\"/>\n", kLeft, y, b.value * scale, kBar);
    svg += fmt::format("<line x1=\"{:.1f}\" x2=\"{:.1f}\" y1=\"{}\" y2=\"{}\" stroke=\"#1a2b3c\" stroke-width=\"2\"/>\n", low, high,
                       y + kBar / 2, y + kBar / 2);
    svg += fmt::format("<text x=\"{:.1f}\" y=\"{}\" fill=\"#1a2b3c\">{:.1f}</text>\n", std::max(end, high) + 8, y + 16, b.value);
  }
  return svg + "</svg>\n";
}

}  // namespace

Status write_bar_chart(const std::string& path, const std::string& title, const std::vector<Bar>& bars) {
  const std::string part = path + ".part";
  std::ofstream f(part, std::ios::binary);
  f << draw(title, bars);
  f.close();
  if (!f || std::rename(part.c_str(), path.c_str()) != 0) {
    std::remove(part.c_str());
    return {Code::kIo, path + ": cannot be written", "give --plot a path in a writable folder"};
  }
  return {};
}

}  // namespace sluice::cli
