#include "cli/app.h"

#include "cli/help.h"

namespace sluice::cli {

std::unique_ptr<CLI::App> make_app(Command& command) {
  auto app = std::make_unique<CLI::App>("runs language models built on the gated delta rule", "sluice");
  app->set_version_flag("--version", "sluice " SLUICE_VERSION, "print the version and end");
  app->set_config("--config-file", "", "read options from a TOML file; flags and SLUICE_* variables go before it")
      ->type_name(kFile);
  app->allow_config_extras(CLI::config_extras_mode::error);  // a key with a typo must not pass for an option
  app->require_subcommand(1);
  for (auto* add : {add_run, add_serve, add_score, add_eval, add_bench, add_op, add_inspect, add_quantize, add_tokenize, add_doctor,
                    add_completion, add_help})
    add(*app, command);
  set_help(*app);
  return app;
}

}  // namespace sluice::cli
