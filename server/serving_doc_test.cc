// docs/serving.md and the rules beside it say what the program does: limits, names of metrics, sizes. The files are tried by
// promtool where it is installed (Debian's prometheus).
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdio>
#include <fstream>
#include <regex>
#include <set>
#include <sstream>

#include "engine/kv_pool.h"
#include "engine/state_pool.h"
#include "server/limits.h"
#include "server/metrics.h"
#include "tests/support/metrics_text.h"
#include "tests/support/temp_dir.h"

namespace sluice {
namespace {

const std::string kDocs = SLUICE_SOURCE_DIR "/docs/";

std::string read(const std::string& path) {
  std::ifstream file(path);
  EXPECT_TRUE(file.good()) << path;
  return {std::istreambuf_iterator<char>(file), {}};
}

// The rows of the table behind a line, without its head.
std::vector<std::string> table_behind(const std::string& text, const std::string& line) {
  const size_t at = text.find(line);
  EXPECT_NE(at, std::string::npos) << line;
  std::istringstream rest(text.substr(at + line.size()));
  std::vector<std::string> rows;
  for (std::string row; std::getline(rest, row);) {
    if (row.rfind("| ", 0) == 0) rows.push_back(row);
    else if (!rows.empty()) break;
  }
  if (rows.size() < 3) return {};
  return {rows.begin() + 2, rows.end()};
}

std::string rendered(bool aliases) {
  Metrics metrics({.model = "m", .max_context = 1000, .version = "1"});
  metrics.observe_first_token(0.1);
  const HttpCounters http;
  MetricsReading now{.http = &http};
  now.engine.step_tokens.add(3);
  return metrics.render(now, aliases);
}

// A program's output and exit code; empty and 127 where it is not installed.
std::pair<std::string, int> run(const std::string& command) {
  std::string out;
  FILE* pipe = ::popen((command + " 2>&1").c_str(), "r");
  char part[4096];
  while (const size_t n = std::fread(part, 1, sizeof part, pipe)) out.append(part, n);
  const int status = ::pclose(pipe);
  return {out, WIFEXITED(status) ? WEXITSTATUS(status) : -1};
}

#define NEEDS_PROMTOOL() \
  if (run("command -v promtool").second != 0) GTEST_SKIP() << "promtool is not installed (Debian package: prometheus)"

TEST(ServingDoc, TheTableOfLimitsIsThatOfTheProgram) {
  std::vector<std::string> expected;
  HttpLimits limits;
  each_limit(limits, [&](const HttpLimit& l) {
    expected.push_back("| `--" + std::string(l.flag) + "` | " + std::to_string(l.value) + " | " + l.unit + " | " + l.reason + " |");
  });
  const auto rows = table_behind(read(kDocs + "serving.md"), "<!-- limits: held to server/limits.h by a test -->");
  EXPECT_EQ(rows, expected);
}

TEST(ServingDoc, TheTableOfMetricsIsThatOfTheProgram) {
  std::vector<std::string> expected;
  std::istringstream lines(rendered(false));
  for (std::string help, type; std::getline(lines, help);) {
    if (help.rfind("# HELP sluice_", 0) != 0) continue;
    std::getline(lines, type);
    const size_t name = 14, end = help.find(' ', name);
    expected.push_back("| `" + help.substr(name, end - name) + "` | " + type.substr(type.rfind(' ') + 1) + " | " +
                       help.substr(end + 1) + " |");
  }
  EXPECT_GT(expected.size(), 40u);
  EXPECT_EQ(table_behind(read(kDocs + "serving.md"), "<!-- metrics: held to server/metrics.cc by a test -->"), expected);
}

TEST(ServingDoc, TheAlertsAskForWhatThereIs) {
  const testing::MetricsText metrics = testing::read_metrics(rendered(true));
  const std::string rules = read(kDocs + "alerts.yml"), tests = read(kDocs + "alerts_test.yml"), doc = read(kDocs + "serving.md");
  const std::regex name("(sluice|process|vllm)[_:][a-z0-9_]+"), alert("alert: ([A-Za-z]+)");
  int names = 0, alerts = 0;
  for (std::sregex_iterator it(rules.begin(), rules.end(), name), end; it != end; ++it, ++names) {
    std::string family = it->str();
    if (family.ends_with("_bucket")) family.resize(family.size() - 7);
    EXPECT_EQ(metrics.types.count(family), 1u) << family;
  }
  for (std::sregex_iterator it(rules.begin(), rules.end(), alert), end; it != end; ++it, ++alerts) {
    const std::string alert_name = (*it)[1];
    EXPECT_NE(tests.find("alertname: " + alert_name + "\n        exp_alerts:"), std::string::npos) << alert_name << " never fires";
    EXPECT_NE(tests.find("alertname: " + alert_name + "}"), std::string::npos) << alert_name << " may always fire";
    EXPECT_NE(doc.find(alert_name), std::string::npos) << alert_name << " has no advice";
  }
  EXPECT_GT(names, 15);
  EXPECT_GT(alerts, 10);
}

// The example of the memory plan, by the pools themselves.
TEST(ServingDoc, TheMemoryExampleIsRight) {
  const PoolSpec qwen{.linear_layers = 18,
                      .key_heads = 16,
                      .value_heads = 16,
                      .key_dim = 128,
                      .value_dim = 128,
                      .conv_channels = 6144,
                      .conv_width = 4,
                      .attention_layers = 6,
                      .kv_heads = 2,
                      .head_dim = 256};
  const auto states = StatePool::create(qwen, 1);
  ASSERT_TRUE(states.ok());
  const double slot = double(states->slot_bytes()), mib = 1 << 20;
  const double formula = 4.0 * 18 * (16 * 128 * 128 + 3 * 6144 + 16 * 6144 + 64 * 16 * 128 + 64 * 16 * 128 + 64 * 16);
  EXPECT_EQ(slot, formula);
  auto with_head = qwen;
  with_head.hidden_size = 1024, with_head.attention_layers = 7;
  EXPECT_EQ(double(StatePool::create(with_head, 1)->slot_bytes()), formula + 8.0 * 1024);
  char row[64];
  const std::string doc = read(kDocs + "serving.md");
  std::snprintf(row, sizeof row, "| state slot | %.1f MiB |", slot / mib);
  EXPECT_NE(doc.find(row), std::string::npos) << row;
  std::snprintf(row, sizeof row, "64 snapshots | %.1f GiB |", 96 * slot / mib / 1024);
  EXPECT_NE(doc.find(row), std::string::npos) << row;
  const auto int8 = StatePool::create(qwen, 2, {}, 1);
  ASSERT_TRUE(int8.ok());
  const double place = double(int8->int8_snapshots()->place_bytes());
  EXPECT_EQ(place, 18.0 * (16 * 128 * 128 + 4 * 16 * 128 + 4 * 16) + 4.0 * 18 * 3 * 6144);
  std::snprintf(row, sizeof row, "| %.1f MiB | in the memory of those 64: %d snapshots |", place / mib, int(64 * slot / place));
  EXPECT_NE(doc.find(row), std::string::npos) << row;

  const auto kv = KvPool::create(qwen, 1);
  ASSERT_TRUE(kv.ok());
  double page = 0;
  for (const AttentionLayerCache& layer : kv->layers())
    for (const Tensor& t : {layer.k, layer.v}) page += double(t.bytes());
  EXPECT_EQ(page / 64, 2.0 * 6 * 2 * 256 * 2);
  std::snprintf(row, sizeof row, "| KV token | %.0f KiB |", page / 64 / 1024);
  EXPECT_NE(doc.find(row), std::string::npos) << row;
  std::snprintf(row, sizeof row, "or one of 262144 | %.1f GiB |", page / 64 * 262144 / mib / 1024);
  EXPECT_NE(doc.find(row), std::string::npos) << row;
}

TEST(Promtool, ReadsTheMetrics) {
  NEEDS_PROMTOOL();
  const testing::TempDir dir;
  const auto check = [&](const std::string& text) { return run("promtool check metrics < " + dir.write("metrics.txt", text)); };
  EXPECT_EQ(check(rendered(false)), std::make_pair(std::string(), 0));
  EXPECT_NE(check("sluice_a{ 1\n").second, 0) << "a check that finds everything good";
  // Of the aliases it only dislikes what makes them aliases.
  const auto [said, code] = check(rendered(true));
  EXPECT_EQ(code, 3) << said;
  std::istringstream lines(said);
  int colons = 0;
  for (std::string line; std::getline(lines, line);) {
    const bool alias = line.rfind("vllm:", 0) == 0 || line.rfind("sglang:", 0) == 0;
    const bool colon = alias && line.ends_with(" metric names should not contain ':'");
    EXPECT_TRUE(colon || line == "vllm:iteration_tokens_total non-counter metrics should not have \"_total\" suffix") << line;
    colons += colon;
  }
  EXPECT_GT(colons, 30);
}

TEST(Promtool, TriesTheAlerts) {
  NEEDS_PROMTOOL();
  auto [said, code] = run("promtool check rules " + kDocs + "alerts.yml");
  EXPECT_EQ(code, 0) << said;
  std::tie(said, code) = run("promtool test rules " + kDocs + "alerts_test.yml");
  EXPECT_EQ(code, 0) << said;
  std::tie(said, code) = run("promtool check config --syntax-only " + kDocs + "deploy/prometheus.yml");
  EXPECT_EQ(code, 0) << said;
}

}  // namespace
}  // namespace sluice
