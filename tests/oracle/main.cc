// oracle_tests: holds Sluice to a folder of reference data.
//
//   oracle_tests --oracles DIR [--parts models,ops,tokenizer] [--only NAME] [--dtype fp32,bf16] [--device cpu]
#include <CLI/CLI.hpp>

#include "core/runtime.h"
#include "tests/oracle/parts.h"

int main(int argc, char** argv) {
  sluice::OracleOptions o{.folder = SLUICE_TEST_DATA "/oracles"};
  std::vector<std::string> parts{"ops", "models", "tokenizer"}, dtypes{"fp32", "bf16"};
  std::string device = "cpu";
  CLI::App app{"Checks against reference data; the format is in docs/oracles.md."};
  app.add_option("--oracles", o.folder, "folder with ops/, models/, tokenizer/")
      ->check(CLI::ExistingDirectory)
      ->capture_default_str();
  app.add_option("--parts", parts, "which parts")
      ->delimiter(',')
      ->check(CLI::IsMember({"models", "ops", "tokenizer"}))
      ->capture_default_str();
  app.add_option("--only", o.only, "only checks whose name contains this");
  app.add_option("--dtype", dtypes, "which arithmetic")
      ->delimiter(',')
      ->check(CLI::IsMember({"fp32", "bf16"}))
      ->capture_default_str();
  app.add_option("--device", device, "where operators and models run: cpu or cuda:0")->capture_default_str();
  app.add_option("--threads", o.threads, "threads; 0: one for each physical core");
  CLI11_PARSE(app, argc, argv);
  o.dtypes = {dtypes.begin(), dtypes.end()};
  const auto parsed = sluice::parse_device(device);
  if (!parsed.ok()) return std::fprintf(stderr, "oracle_tests: %s\n", parsed.status().to_string().c_str()), 2;
  o.device = *parsed;
  sluice::Report report;
  for (const std::string& part : parts) {
    if (part == "ops") check_ops(o, report);
    if (part == "models") check_models(o, report);
    if (part == "tokenizer") check_tokenizer(o, report);
  }
  return report.finish();
}
