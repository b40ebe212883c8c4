// What the subcommands share: options of the engine, loading a model with its texts, and how errors end the program.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <optional>
#include <string>

#include "base/clock.h"
#include "cli/description.h"
#include "core/backend.h"
#include "core/context.h"
#include "engine/engine.h"
#include "engine/scheduler.h"
#include "io/model_config.h"
#include "text/chat.h"
#include "text/tokenizer.h"

namespace sluice::cli {

// Exit codes: 0 success, 1 failure, 2 usage, 70 the device is lost and a new process may find it well.
inline constexpr int kFailure = 1, kUsage = 2, kLost = 70;

// A line on stderr, in one write, so that lines of several threads do not mix. Where it cannot be written it is left out: a full
// disk behind a log ends nothing.
void put_error_line(const std::string& line);

// Prints "sluice: error: message; hint" and returns the exit code that fits.
int fail(const Status& status);

// How a subcommand ends: 0, or what fail() returns.
inline int exit_code(const Status& status) { return status.ok() ? 0 : fail(status); }

// A subcommand's function: 0, or what fail() returned.
using Command = std::function<int()>;

// How weights are to be quantised.
struct QuantizeOptions {
  std::string codes;   // int8, int4; empty: not at all
  int64_t group = 32;  // neighbours with one scale; 0: a whole row
  bool keep_embedding = false;
};

struct ModelOptions {
  std::string model;            // empty: the demo model
  bool random_weights = false;  // of the shape that `config` gives; `model` is not looked at
  std::string config, tokenizer;
  std::string dtype = "auto", device = "cpu", state_dtype = "fp32", snapshots = "fp32";
  int threads = 0;
  int64_t prefill_chunk = 0, max_context = 0, speculate = 0;
  QuantizeOptions quantize;
  std::optional<bool> batch_invariant;
  bool graphs = true;
  BackendFlags backend;
  int64_t lose_device_after = 0;  // steps; 0: never
  int tp = 1;
  Ranks* ranks = nullptr;  // of --tp, once they are together (cli/ranks.h)
};

// How help groups the options that commands share.
inline constexpr const char *kModelGroup = "Model", *kGpuGroup = "On a GPU";

// --dtype, --threads and the others that run, score, eval and bench have in common. `positional` adds MODEL.
void add_model_options(CLI::App& app, ModelOptions& o, bool positional = true);

// `name` (--quantize or --format) and what belongs to it.
CLI::Option* add_quantize_options(CLI::App& app, const std::string& name, QuantizeOptions& o);
std::optional<Quantize> quantize_choice(const QuantizeOptions& o);

// --random-weights and --config.
void add_random_weights_options(CLI::App& app, ModelOptions& o);
// --tokenizer, where a subcommand reads or writes text.
void add_tokenizer_option(CLI::App& app, ModelOptions& o);

// --speculate, where a subcommand generates text.
void add_speculation_option(CLI::App& app, ModelOptions& o);

// --snapshots, where a prefix cache is of use.
void add_snapshots_option(CLI::App& app, ModelOptions& o);

// --linear-attn-backend and its overrides.
void add_backend_options(CLI::App& app, BackendFlags& flags);

// What the flags and SLUICE_IMPL choose on a device (null: the CPU); the latter is strict and goes first. Warnings go to stderr.
Result<ImplChoices> choose_implementations(const BackendFlags& flags, const Gpu* gpu);

// What SLUICE_TILE asks for.
Result<TileChoices> choose_tiles();

// What SLUICE_PDL asks for.
Result<PdlChoice> choose_pdl();

void warn(const std::string& message);
// A line for each kind of call that a chosen form could not serve.
void warn_about(const std::vector<Fallback>& fallbacks);
// Says so at a command's end.
class FallbackWarnings {
 public:
  explicit FallbackWarnings(const Engine& engine) : engine_(engine) {}
  ~FallbackWarnings() {
    try {
      warn_about(engine_.fallbacks());
    } catch (const std::bad_alloc&) {  // then they are not told
    }
  }
  FallbackWarnings(const FallbackWarnings&) = delete;
  FallbackWarnings& operator=(const FallbackWarnings&) = delete;

 private:
  const Engine& engine_;
};

// The folder that ships with the program: demo/model beside the build or under share/sluice.
Result<std::string> demo_model_dir();
Result<std::string> model_dir(const ModelOptions& o);
// The folder with the model's config.json, or the file itself.
Result<std::string> config_place(const ModelOptions& o);
// What the folder or the file with the model's shape is called.
Result<std::string> model_name(const ModelOptions& o);

// How much is served at once, see EngineOptions.
struct Capacity {
  int64_t max_sequences = 1, state_slots = 0, kv_tokens = 0;
  bool room_for_cache = false;
};
Result<std::unique_ptr<Engine>> make_engine(const ModelOptions& o, const Capacity& capacity = {});
// Lines on a terminal's stderr: what of the checkpoint was left out, and on a GPU what its memory is given to.
void put_notes(const Engine& engine);
// The GPU that a device is. None for the CPU, and none where it does not exist, which Engine::create() reports.
std::optional<Gpu> gpu_of(Device device);
// A checkpoint's tokenizer, chat template (where it has one) and defaults for generation.
struct Texts {
  Tokenizer tokenizer;
  std::optional<ChatTemplate> chat;
  GenerationConfig generation;
};
// Of --tokenizer where it is given; with --random-weights the demo model's where there is none beside the config. Ids that another
// model's tokenizer does not know are written as U+FFFD.
Result<Texts> load_texts(const ModelOptions& o);

// Stop tokens: those of generation_config.json, then of config.json.
std::vector<int32_t> stop_ids(const Texts* texts, const ModelConfig& config);

// The prompt of one user message, rendered by the chat template. Text of the user matches no special token unless parse_special.
Result<std::vector<int32_t>> encode_chat(const Texts& texts, const boost::json::array& messages, bool parse_special);

// Numbers separated by anything that is not a digit or a minus sign.
Result<std::vector<int32_t>> parse_ids(const std::string& text, const std::string& where);

bool stderr_is_terminal();

// Lets this process have as many descriptors as the system allows; says how many.
uint64_t raise_descriptor_limit();

// "prefill 384/512" on stderr while long work runs, only on a terminal; cleared at the end.
class Progress {
 public:
  explicit Progress(std::string what) : what_(std::move(what)) {}
  ~Progress() { clear(); }
  void show(int64_t done, int64_t total);
  // text: in place of "384/512".
  void show(int64_t done, int64_t total, const std::string& text);
  void clear();

 private:
  std::string what_;
  double last_ = 0;
  bool shown_ = false;
};

// Weights on their way to a device: a bar on a terminal, elsewhere a line at the end of what took a while.
class LoadingProgress {
 public:
  void show(size_t done, size_t all);

 private:
  const double begin_ = now_seconds();
  Progress bar_{"loading weights"};
};

// One function a subcommand; each adds itself to `app` and leaves what to do in `command` when it was chosen.
void add_run(CLI::App& app, Command& command);
void add_score(CLI::App& app, Command& command);
void add_eval(CLI::App& app, Command& command);
void add_op(CLI::App& app, Command& command);
void add_bench(CLI::App& app, Command& command);
void add_bench_serve(CLI::App& bench, Command& command);  // below `bench`
void add_inspect(CLI::App& app, Command& command);
void add_quantize(CLI::App& app, Command& command);
void add_tokenize(CLI::App& app, Command& command);
void add_doctor(CLI::App& app, Command& command);
void add_serve(CLI::App& app, Command& command);
void add_help(CLI::App& app, Command& command);
void add_completion(CLI::App& app, Command& command);

}  // namespace sluice::cli
