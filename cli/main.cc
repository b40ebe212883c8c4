// sluice: the command line. Each subcommand is a file of its own.
#include <cstdio>
#include <system_error>

#include "cli/app.h"
#include "cli/help.h"
#include "io/mapped_file.h"

namespace {

// What was printed counts only once it is written.
sluice::Status flush_output() {
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return {};
  return {sluice::Code::kIo, "standard output cannot be written"};
}

// Builds the command line, reads it and does what it says.
int run(int argc, char** argv) {
  using namespace sluice::cli;
  Command command;
  const auto app = make_app(command);
  try {
    app->parse(argc, argv);
  } catch (const CLI::Success& e) {
    return app->exit(e);  // --help, --version
  } catch (const CLI::ParseError& e) {
    put_error_line("sluice: error: " + explain(*app, e));
    return kUsage;
  }
  const int code = command();
  return code == 0 ? exit_code(flush_output()) : code;
}

}  // namespace

// Its error lines are written without memory: there may be none.
int main(int argc, char** argv) {
  sluice::install_truncation_guard();
  try {
    return run(argc, argv);
  } catch (const std::system_error& e) {  // a write to standard output, or a thread
    std::fprintf(stderr, "sluice: error: %s\n", e.what());
  } catch (const std::bad_alloc&) {
    std::fputs("sluice: error: out of memory\n", stderr);
  }
  return sluice::cli::kFailure;
}
