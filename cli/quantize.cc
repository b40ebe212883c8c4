// sluice quantize: a copy of a checkpoint with quantised weights, for this and other programs that read compressed-tensors.
#include "models/quantize.h"

#include <fmt/core.h>

#include "cli/command.h"

namespace sluice::cli {
namespace {

struct QuantizeCommand {
  std::string from, to;
  QuantizeOptions how;
  int threads = 0;
};

Status quantize(const QuantizeCommand& o) {
  SLUICE_ASSIGN_OR_RETURN(const ImplChoices forced, choose_implementations({}, nullptr));
  SLUICE_ASSIGN_OR_RETURN(const auto cpu, CpuRuntime::create(o.threads, forced));
  Progress quantizing("quantizing"), writing("writing");
  const auto bar = [](Progress& progress) {
    return [&progress](size_t done, size_t all) {
      progress.show(int64_t(done), int64_t(all), fmt::format("{:.1f}/{:.1f} GB", double(done) / 1e9, double(all) / 1e9));
    };
  };
  return write_quantized({.from = o.from,
                          .to = o.to,
                          .how = *quantize_choice(o.how),
                          .where = cpu->context(),
                          .show_quantizing = bar(quantizing),
                          .show_writing = bar(writing)});
}

}  // namespace

void add_quantize(CLI::App& app, Command& command) {
  auto o = std::make_shared<QuantizeCommand>();
  CLI::App* sub = app.add_subcommand("quantize", "write a copy of a checkpoint with quantised weights")->group("Use a model");
  sub->add_option("MODEL", o->from, "folder of a Hugging Face checkpoint")->required()->type_name(kDir);
  sub->add_option("OUT", o->to, "folder to be made")->required()->type_name(kDir);
  add_quantize_options(*sub, "--format", o->how)->required();
  sub->add_option("--threads", o->threads, "threads; 0 means one for each physical core")
      ->check(CLI::Range(0, 1024))
      ->envname("SLUICE_THREADS")
      ->capture_default_str();
  sub->callback([o, &command] { command = [o] { return exit_code(quantize(*o)); }; });
}

}  // namespace sluice::cli
