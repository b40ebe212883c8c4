#include "cli/plot.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
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

// The rectangle of a panel within the picture, and what its axes span.
struct Frame {
  double left, top, width, height;  // pixels
  double x0 = 0, x1 = 1, y1 = 1;    // y begins at 0
  bool log_x = false;

  double x(double v) const {
    const double share = log_x ? std::log(v / x0) / std::log(x1 / x0) : (v - x0) / (x1 - x0);
    return left + width * std::clamp(share, 0.0, 1.0);
  }
  double y(double v) const { return top + height * (1 - v / y1); }
};

// The next of 1, 2, 5, 10, ... at or above v.
double round_up(double v) {
  const double power = std::pow(10, std::floor(std::log10(v)));
  for (const double m : {1.0, 2.0, 5.0}) {
    if (m * power >= v * (1 - 1e-9)) return m * power;
  }
  return 10 * power;
}

std::vector<double> ticks(double from, double to, bool log) {
  std::vector<double> out;
  if (log) {
    for (double power = std::pow(10, std::floor(std::log10(from))); power <= to * 1.001; power *= 10) {
      for (const double m : {1.0, 2.0, 5.0}) {
        // Over more than two decades, the powers alone: more numbers would run into each other.
        if ((m == 1 || to / from < 200) && m * power >= from * 0.999 && m * power <= to * 1.001) out.push_back(m * power);
      }
    }
    return out;
  }
  const double step = round_up(std::max(to - from, 1e-12) / 6);
  for (double v = std::ceil(from / step - 1e-9) * step; v <= to + step * 1e-6; v += step) out.push_back(v + 0.0);  // no -0
  return out;
}

Frame frame_of(const Panel& p, double left, double top, double width, double height) {
  Frame f{left, top, width, height};
  f.log_x = p.log_x;
  double x0 = HUGE_VAL, x1 = -HUGE_VAL, y1 = 0;
  for (const Line& line : p.lines) {
    for (const auto& [x, y] : line.points) {
      if (p.log_x && x <= 0) continue;
      x0 = std::min(x0, x);
      x1 = std::max(x1, x);
      y1 = std::max(y1, y);
    }
  }
  if (x0 > x1) return f;
  f.x0 = p.log_x ? x0 / 1.05 : std::min(0.0, x0);
  f.x1 = p.log_x ? x1 * 1.05 : std::max(x1, f.x0 + 1e-9);
  f.y1 = y1 > 0 ? y1 * (y1 == 1 ? 1 : 1.05) : 1;
  return f;
}

std::string axes(const Panel& p, const Frame& f) {
  const double bottom = f.top + f.height;
  std::string svg = fmt::format(
      "<text x=\"{:.0f}\" y=\"{:.0f}\" fill=\"#1a2b3c\">{}</text>\n<text x=\"{:.0f}\" y=\"{:.0f}\" text-anchor=\"end\" "
      "font-size=\"12\" fill=\"#5a6b7c\">{}</text>\n",
      f.left, f.top - 10, escape(p.title), f.left + f.width, bottom + 34, escape(p.x_label));
  for (const double v : ticks(0, f.y1, false))
    svg += fmt::format(
        "<line x1=\"{:.1f}\" x2=\"{:.1f}\" y1=\"{:.1f}\" y2=\"{:.1f}\" stroke=\"#dfe5ea\"/>\n<text x=\"{:.1f}\" y=\"{:.1f}\" "
        "text-anchor=\"end\" font-size=\"12\" fill=\"#5a6b7c\">{:.6g}</text>\n",
        f.left, f.left + f.width, f.y(v), f.y(v), f.left - 6, f.y(v) + 4, v);
  for (const double v : ticks(f.x0, f.x1, f.log_x))
    svg += fmt::format(
        "<line x1=\"{0:.1f}\" x2=\"{0:.1f}\" y1=\"{1:.1f}\" y2=\"{2:.1f}\" stroke=\"#5a6b7c\"/>\n<text x=\"{0:.1f}\" y=\"{3:.1f}\" "
        "text-anchor=\"middle\" font-size=\"12\" fill=\"#5a6b7c\">{4:.6g}</text>\n",
        f.x(v), bottom, bottom + 4, bottom + 18, v);
  return svg + fmt::format("<line x1=\"{:.1f}\" x2=\"{:.1f}\" y1=\"{:.1f}\" y2=\"{:.1f}\" stroke=\"#5a6b7c\"/>\n", f.left,
                           f.left + f.width, bottom, bottom);
}

std::string draw_panel(const Panel& p, const Frame& f) {
  constexpr const char* kColours[] = {"#2f7fb8", "#d9822b", "#3d9970", "#a0449b"};
  std::string svg = axes(p, f);
  bool any = false;
  for (size_t i = 0; i < p.lines.size(); ++i) {
    const Line& line = p.lines[i];
    const char* colour = kColours[i % std::size(kColours)];
    std::string path;
    double last_y = 0;
    for (const auto& [x, y] : line.points) {
      if (p.log_x && x <= 0) continue;
      if (line.steps && !path.empty()) path += fmt::format(" {:.1f},{:.1f}", f.x(x), last_y);
      path += fmt::format(" {:.1f},{:.1f}", f.x(x), last_y = f.y(y));
    }
    if (path.empty()) continue;
    any = true;
    svg += fmt::format("<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"2\"/>\n", path.substr(1), colour);
    if (p.lines.size() > 1)
      svg += fmt::format("<text x=\"{:.0f}\" y=\"{:.0f}\" text-anchor=\"end\" font-size=\"12\" fill=\"{}\">{}</text>\n",
                         f.left + f.width, f.top - 10 - 14.0 * double(p.lines.size() - 1 - i), colour, escape(line.label));
  }
  if (!any)
    svg += fmt::format("<text x=\"{:.0f}\" y=\"{:.0f}\" text-anchor=\"middle\" fill=\"#5a6b7c\">no data</text>\n",
                       f.left + f.width / 2, f.top + f.height / 2);
  return svg;
}

std::string draw(const std::string& title, const std::vector<Panel>& panels) {
  constexpr int kCell = 460, kRow = 300, kLeft = 64, kRight = 24, kHead = 84, kFoot = 48, kTitle = 44;  // pixels
  const int rows = (int(panels.size()) + 1) / 2, columns = panels.size() > 1 ? 2 : 1;
  std::string svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0} {1}\" width=\"{0}\" height=\"{1}\" font-family=\"sans-serif\" "
      "font-size=\"14\">\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n<text x=\"16\" y=\"28\" font-size=\"16\" "
      "fill=\"#1a2b3c\">{2}</text>\n",
      columns * kCell, kTitle + rows * kRow, escape(title));
  for (size_t i = 0; i < panels.size(); ++i) {
    const double left = double(i % 2) * kCell + kLeft, top = kTitle + double(i / 2) * kRow + kHead - kTitle;
    svg += draw_panel(panels[i], frame_of(panels[i], left, top, kCell - kLeft - kRight, kRow - kFoot - kHead + kTitle));
  }
  return svg + "</svg>\n";
}

Status write_whole(const std::string& path, const std::string& svg) {
  const std::string part = path + ".part";
  std::ofstream f(part, std::ios::binary);
  f << svg;
  f.close();
  if (!f || std::rename(part.c_str(), path.c_str()) != 0) {
    std::remove(part.c_str());
    return {Code::kIo, path + ": cannot be written", "give --plot a path in a writable folder"};
  }
  return {};
}

}  // namespace

Line cumulative(std::string label, std::vector<double> values) {
  constexpr size_t kPoints = 400;
  std::ranges::sort(values);
  Line line{std::move(label), {}, true};
  const size_t n = values.size(), points = std::min(n, kPoints);
  for (size_t i = 1; i <= points; ++i) {
    const size_t rank = i * n / points;  // n at the last point
    line.points.emplace_back(values[rank - 1], double(rank) / double(n));
  }
  return line;
}

Status write_line_charts(const std::string& path, const std::string& title, const std::vector<Panel>& panels) {
  return write_whole(path, draw(title, panels));
}

Status write_bar_chart(const std::string& path, const std::string& title, const std::vector<Bar>& bars) {
  return write_whole(path, draw(title, bars));
}

}  // namespace sluice::cli
