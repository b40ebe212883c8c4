// sluice: the command line. Each subcommand is a file of its own.
#include <cstdio>
#include <system_error>

#include "cli/command.h"
#include "io/mapped_file.h"

namespace {

// What was printed counts only once it is written.
sluice::Status flush_output() {
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return {};
  return {sluice::Code::kIo, "standard output cannot be written"};
}

}  // namespace

int main(int argc, char** argv) {
  using namespace sluice::cli;
  sluice::install_truncation_guard();
  CLI::App app{"sluice " SLUICE_VERSION ": runs gated-delta-net language models"};
  app.set_version_flag("--version", "sluice " SLUICE_VERSION);
  app.set_config("--config-file", "", "read options from a TOML file; flags and SLUICE_* variables go before it");
  app.require_subcommand(1);
  Command command;
  for (auto* add : {add_run, add_serve, add_score, add_eval, add_bench, add_op, add_inspect, add_quantize, add_tokenize, add_doctor})
    add(app, command);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& e) {
    return app.exit(e);  // --help, --version
  } catch (const CLI::ParseError& e) {
    put_error_line(std::string("sluice: error: ") + e.what() + "; `sluice --help` shows what there is");
    return kUsage;
  }
  try {
    const int code = command();
    return code == 0 ? exit_code(flush_output()) : code;
  } catch (const std::system_error& e) {  // a write to standard output, or a thread
    return fail({sluice::Code::kIo, e.what()});
  } catch (const std::bad_alloc&) {
    std::fputs("sluice: error: out of memory\n", stderr);
    return kFailure;
  }
}
