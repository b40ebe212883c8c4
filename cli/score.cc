// sluice score: the logits of every position, for comparison with other programs.
#include <fmt/core.h>

#include "cli/command.h"
#include "cli/ranks.h"
#include "core/memory.h"
#include "io/json.h"
#include "io/safetensors.h"

namespace sluice::cli {
namespace {

struct ScoreOptions {
  ModelOptions model;
  std::string ids_file, out;
};

Status score(const ScoreOptions& o) {
  constexpr size_t kCap = size_t(64) << 20;  // bytes of an ids file
  SLUICE_ASSIGN_OR_RETURN(const std::string text, read_small_file(o.ids_file, kCap));
  SLUICE_ASSIGN_OR_RETURN(std::vector<int32_t> ids, parse_ids(text, o.ids_file));
  SLUICE_ASSIGN_OR_RETURN(const auto engine, make_engine(o.model));
  put_notes(*engine);
  const FallbackWarnings warnings(*engine);
  const int64_t length = int64_t(ids.size()), vocab = engine->model().config().vocab_size;
  SLUICE_ASSIGN_OR_RETURN(const auto sequence, engine->open(ids));
  SLUICE_ASSIGN_OR_RETURN(const Buffer memory, Buffer::allocate(size_t(length * vocab) * sizeof(float)));
  auto* logits = reinterpret_cast<float*>(memory.data());
  Progress progress("scoring");
  while (sequence->pending() > 0) {
    const Work work{sequence.get(), std::min({kMostScoredRows, engine->options().prefill_chunk, sequence->pending()}),
                    WantLogits::kAll};
    const int64_t first = sequence->computed;
    SLUICE_ASSIGN_OR_RETURN(const StepOutput step, engine->step({&work, 1}));
    SLUICE_RETURN_IF_ERROR(to_host(engine->context(), step.logits.data, step.logits.bytes(), logits + first * vocab));
    progress.show(sequence->computed, length);
  }
  const std::pair<std::string, Tensor> tensors[] = {{"ids", Tensor::of(ids.data(), {length})},
                                                    {"logits", Tensor::of(logits, {length, vocab})}};
  return write_safetensors(o.out, tensors);
}

}  // namespace

void add_score(CLI::App& app, Command& command) {
  auto o = std::make_shared<ScoreOptions>();
  CLI::App* sub = app.add_subcommand("score", "write the logits of every position of a token sequence")->group("Measure");
  add_model_options(*sub, o->model);
  sub->add_option("--ids-file", o->ids_file, "token ids, separated by spaces, commas or lines")->required()->type_name(kFile);
  sub->add_option("--out", o->out, "safetensors file to write: ids [L] i32, logits [L, vocab] f32")->required()->type_name(kFile);
  sub->callback([o, &command] { command = among_ranks(o->model, [o] { return exit_code(score(*o)); }); });
}

}  // namespace sluice::cli
