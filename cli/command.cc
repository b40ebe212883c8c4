#include "cli/command.h"

#include <fmt/core.h>
#include <sys/resource.h>
#include <unistd.h>

#include <charconv>
#include <filesystem>

#include "base/clock.h"
#include "core/gpu.h"
#include "core/impl.h"
#include "core/pdl.h"
#include "core/tile.h"
#include "models/quantize.h"

namespace sluice::cli {

void put_error_line(const std::string& line) {
  const std::string whole = line + "\n";
  std::fwrite(whole.data(), 1, whole.size(), stderr);
}

int fail(const Status& status) {
  put_error_line("sluice: error: " + status.to_string());
  return status.code() == Code::kDevice ? kLost : kFailure;
}

void add_model_options(CLI::App& app, ModelOptions& o, bool positional) {
  if (positional)
    app.add_option("MODEL", o.model, "folder of a Hugging Face checkpoint; the demo model if left out")
        ->type_name(kDir)
        ->envname("SLUICE_MODEL");
  app.add_option("--dtype", o.dtype, "arithmetic of activations; auto: what the checkpoint is stored in")
      ->check(CLI::IsMember({"auto", "bf16", "fp32"}))
      ->envname("SLUICE_DTYPE")
      ->group(kModelGroup)
      ->capture_default_str();
  add_quantize_options(app, "--quantize", o.quantize);
  app.add_option("--device", o.device, "where to run: cpu or cuda:N")
      ->check([](const std::string& name) {
        const auto device = parse_device(name);
        return device.ok() ? std::string() : device.status().to_string();
      })
      ->type_name(kDevice)
      ->envname("SLUICE_DEVICE")
      ->group(kModelGroup)
      ->capture_default_str();
  app.add_option("--threads", o.threads, "threads; 0 means one for each physical core")
      ->check(CLI::Range(0, 1024))
      ->envname("SLUICE_THREADS")
      ->group(kModelGroup)
      ->capture_default_str();
  app.add_option("--prefill-chunk", o.prefill_chunk, "most prompt tokens in one step; results do not depend on it")
      ->check(CLI::Range(int64_t(1), int64_t(1) << 20))
      ->envname("SLUICE_PREFILL_CHUNK")
      ->group(kModelGroup)
      ->default_str("512, on a GPU 8192");
  app.add_option("--max-context", o.max_context, "tokens a sequence may have; 0 means what the model allows")
      ->check(CLI::Range(int64_t(0), int64_t(1) << 31))
      ->envname("SLUICE_MAX_CONTEXT")
      ->group(kModelGroup)
      ->capture_default_str();
  app.add_option("--state-dtype", o.state_dtype, "type of the recurrent state")
      ->check(CLI::IsMember({"fp32"}))
      ->envname("SLUICE_STATE_DTYPE")
      ->group(kModelGroup)
      ->capture_default_str();
  app.add_flag("--batch-invariant,!--no-batch-invariant", o.batch_invariant,
               "a sequence's bits do not depend on its steps nor on what runs beside it; on the CPU always so, on a GPU slower")
      ->group(kGpuGroup);
  app.add_flag("--graphs,!--no-graphs", o.graphs, "on a GPU: record steps as CUDA graphs and replay them")->group(kGpuGroup);
  app.add_option("--tp", o.tp, "processes that share the model, each on a GPU of its own; start them with mpirun -n N")
      ->check(CLI::Range(1, 8))
      ->envname("SLUICE_TP")
      ->group(kGpuGroup)
      ->capture_default_str();
  add_backend_options(app, o.backend);
}

CLI::Option* add_quantize_options(CLI::App& app, const std::string& name, QuantizeOptions& o) {
  CLI::Option* codes = app.add_option(name, o.codes, "quantise weights to int8 or int4, embedding and LM head to int8; on the CPU")
                           ->check(CLI::IsMember({"int8", "int4"}))
                           ->group(kModelGroup);
  app.add_option("--group-size", o.group, "weights of a row that share a scale when they are quantised; 0: all of them")
      ->check(CLI::IsMember({0, 32, 64, 128}))
      ->group(kModelGroup)
      ->needs(codes)
      ->capture_default_str();
  app.add_flag("--keep-embedding", o.keep_embedding, "leave embedding and LM head as they are when quantising")
      ->group(kModelGroup)
      ->needs(codes);
  return codes;
}

std::optional<Quantize> quantize_choice(const QuantizeOptions& o) {
  if (o.codes.empty()) return std::nullopt;
  return quantize_as(o.codes == "int4" ? CodeType::kInt4 : CodeType::kInt8, o.group, o.keep_embedding);
}

void add_backend_options(CLI::App& app, BackendFlags& flags) {
  const CLI::IsMember backends(std::vector<std::string>(std::begin(kBackends), std::end(kBackends)));
  app.add_option("--linear-attn-backend", flags.both,
                 "form of the gated delta operators; triton, flashinfer and cutedsl name ours by theirs")
      ->check(backends)
      ->type_name("NAME")
      ->group(kGpuGroup)
      ->envname("SLUICE_LINEAR_ATTN_BACKEND")
      ->capture_default_str();
  app.add_option("--linear-attn-prefill-backend", flags.prefill, "the same for prefill alone")
      ->check(backends)
      ->type_name("NAME")
      ->group(kGpuGroup)
      ->envname("SLUICE_LINEAR_ATTN_PREFILL_BACKEND");
  app.add_option("--linear-attn-decode-backend", flags.decode, "the same for decode and verification alone")
      ->check(backends)
      ->type_name("NAME")
      ->group(kGpuGroup)
      ->envname("SLUICE_LINEAR_ATTN_DECODE_BACKEND");
}

void add_random_weights_options(CLI::App& app, ModelOptions& o) {
  app.add_option("--config", o.config, "a config.json or its folder, for --random-weights")->type_name(kFile)->group(kModelGroup);
  app.add_flag("--random-weights", o.random_weights, "make weights up instead of reading a checkpoint: for measurements")
      ->group(kModelGroup);
}

void add_tokenizer_option(CLI::App& app, ModelOptions& o) {
  app.add_option("--tokenizer", o.tokenizer,
                 "folder with another tokenizer and chat template than the checkpoint's; with --random-weights the demo model's if "
                 "left out")
      ->type_name(kDir)
      ->group(kModelGroup);
}

void add_speculation_option(CLI::App& app, ModelOptions& o) {
  app.add_option("--speculate", o.speculate, "tokens that the checkpoint's draft head guesses ahead; the answer stays the same")
      ->check(CLI::Range(0, 4))
      ->group(kModelGroup)
      ->capture_default_str();
}

void add_snapshots_option(CLI::App& app, ModelOptions& o) {
  app.add_option("--snapshots", o.snapshots,
                 "recurrent states in the prefix cache: fp32, exact, or int8, several times as many in the same memory")
      ->check(CLI::IsMember({"fp32", "int8"}))
      ->envname("SLUICE_SNAPSHOTS")
      ->group(kModelGroup)
      ->capture_default_str();
}

Result<ImplChoices> choose_implementations(const BackendFlags& flags, const Gpu* gpu) {
  SLUICE_ASSIGN_OR_RETURN(Environment env, read_environment());
  SLUICE_ASSIGN_OR_RETURN(const BackendPlan plan, choose_backends(flags, gpu));
  for (const std::string& w : plan.warnings) warn(w);
  env.impl.insert(plan.choices.begin(), plan.choices.end());  // keeps what is there
  return env.impl;
}

Result<TileChoices> choose_tiles() {
  SLUICE_ASSIGN_OR_RETURN(const Environment env, read_environment());
  SLUICE_RETURN_IF_ERROR(check_tile_choices(env.tile, all_ops()));
  return env.tile;
}

Result<PdlChoice> choose_pdl() {
  SLUICE_ASSIGN_OR_RETURN(const Environment env, read_environment());
  SLUICE_RETURN_IF_ERROR(check_pdl_choice(env.pdl, all_ops()));
  return env.pdl;
}

void warn(const std::string& message) { put_error_line("sluice: warning: " + message); }

void warn_about(const std::vector<Fallback>& fallbacks) {
  for (const Fallback& f : fallbacks)
    warn(fmt::format("{}: '{}' was chosen, but {}; '{}' served {} call{}", f.op, f.wanted, f.reason, f.ran, f.calls,
                     f.calls == 1 ? "" : "s"));
}

Result<std::string> demo_model_dir() {
  namespace fs = std::filesystem;
  std::error_code ec;
  const fs::path program = fs::read_symlink("/proc/self/exe", ec);
  for (fs::path up = program.parent_path(); !ec && !up.empty(); up = up.parent_path()) {
    for (const char* place : {"demo/model", "share/sluice/demo/model"})
      if (fs::exists(up / place / "config.json", ec)) return (up / place).string();
    if (up == up.root_path()) break;
  }
  return Status(Code::kNotFound, "the demo model is not installed beside this program", "name a checkpoint's folder");
}

Result<std::string> model_dir(const ModelOptions& o) {
  if (o.model.empty()) return demo_model_dir();
  return o.model;
}

Result<std::string> config_place(const ModelOptions& o) {
  if (o.random_weights != !o.config.empty())
    return invalid("--config and --random-weights belong together", "give both, or name a checkpoint's folder");
  if (o.random_weights) return o.config;
  return model_dir(o);
}

Result<std::string> model_name(const ModelOptions& o) {
  namespace fs = std::filesystem;
  SLUICE_ASSIGN_OR_RETURN(const std::string place, config_place(o));
  std::error_code ec;
  fs::path path = fs::canonical(place, ec);
  if (ec) return Status(Code::kNotFound, place + ": " + ec.message());
  if (path.filename() == "config.json") path = path.parent_path();
  return (path.extension() == ".json" ? path.stem() : path.filename()).string();
}

std::optional<Gpu> gpu_of(Device device) {
  if (device.kind != DeviceKind::kCuda) return std::nullopt;
  const GpuList found = detect_gpus();
  if (device.index >= int(found.gpus.size())) return std::nullopt;
  return found.gpus[size_t(device.index)];
}

namespace {

Result<EngineOptions> engine_options(const ModelOptions& o, const Capacity& capacity) {
  SLUICE_ASSIGN_OR_RETURN(const Device device, parse_device(o.device));
  if (o.snapshots == "int8" && o.batch_invariant.value_or(false))
    return Status(Code::kUnsupported, "--batch-invariant: with --snapshots int8 results depend on what ran before",
                  "leave one of the two out");
  const std::optional<Gpu> gpu = gpu_of(device);
  SLUICE_ASSIGN_OR_RETURN(ImplChoices impl, choose_implementations(o.backend, gpu ? &*gpu : nullptr));
  SLUICE_ASSIGN_OR_RETURN(TileChoices tiles, choose_tiles());
  SLUICE_ASSIGN_OR_RETURN(PdlChoice pdl, choose_pdl());
  EngineOptions e{.device = device,
                  .threads = o.threads,
                  .prefill_chunk = o.prefill_chunk,
                  .max_context = o.max_context,
                  .max_sequences = capacity.max_sequences,
                  .state_slots = capacity.state_slots,
                  .kv_tokens = capacity.kv_tokens,
                  .room_for_cache = capacity.room_for_cache,
                  .speculate = o.speculate,
                  .batch_invariant = o.batch_invariant.value_or(false),
                  .impl = std::move(impl),
                  .tiles = std::move(tiles),
                  .pdl = std::move(pdl),
                  .graphs = o.graphs,
                  .int8_snapshots = o.snapshots == "int8",
                  .lose_device_after = o.lose_device_after,
                  .ranks = o.ranks};
  e.dtype = o.dtype == "bf16" ? DTypeChoice::kBF16 : o.dtype == "fp32" ? DTypeChoice::kF32 : DTypeChoice::kAuto;
  SLUICE_ASSIGN_OR_RETURN(e.model, config_place(o));
  e.random_weights = o.random_weights;
  e.quantize = quantize_choice(o.quantize);
  if (o.random_weights && e.dtype == DTypeChoice::kAuto) e.dtype = DTypeChoice::kBF16;
  return e;
}

}  // namespace

Result<std::unique_ptr<Engine>> make_engine(const ModelOptions& o, const Capacity& capacity) {
  SLUICE_ASSIGN_OR_RETURN(EngineOptions e, engine_options(o, capacity));
  std::optional<LoadingProgress> loading;  // its clock starts with the first byte
  e.show_loading = [&loading](size_t done, size_t all) {
    if (!loading) loading.emplace();
    loading->show(done, all);
  };
  return Engine::create(e);
}

void put_notes(const Engine& engine) {
  if (!stderr_is_terminal()) return;
  for (const std::string& note : engine.notes()) put_error_line("note: " + note);
  if (engine.options().device.kind != DeviceKind::kCpu)
    put_error_line("note: memory: " + describe(engine.memory(), KvPool::kPageTokens));
}

namespace {

// The folder with tokenizer and chat template.
Result<std::string> texts_dir(const ModelOptions& o) {
  namespace fs = std::filesystem;
  if (!o.tokenizer.empty()) return o.tokenizer;
  SLUICE_ASSIGN_OR_RETURN(const std::string place, config_place(o));
  if (!o.random_weights) return place;
  std::error_code ec;
  const fs::path beside = fs::is_directory(place, ec) ? fs::path(place) : fs::path(place).parent_path();
  if (fs::exists(beside / "tokenizer.json", ec)) return beside.string();
  auto demo = demo_model_dir();
  if (demo.ok()) return demo;
  return Status(Code::kNotFound, "there is no tokenizer beside " + place + ", and no demo model to take one from",
                "name a folder that has one: --tokenizer DIR");
}

}  // namespace

Result<Texts> load_texts(const ModelOptions& o) {
  SLUICE_ASSIGN_OR_RETURN(const std::string place, config_place(o));
  SLUICE_ASSIGN_OR_RETURN(const std::string dir, texts_dir(o));
  GenerationConfig generation;
  if (!o.random_weights) {
    SLUICE_ASSIGN_OR_RETURN(generation, load_generation_config(place));
  }
  SLUICE_ASSIGN_OR_RETURN(Tokenizer tokenizer, Tokenizer::load(dir));
  Texts texts{std::move(tokenizer), std::nullopt, std::move(generation)};
  auto chat = ChatTemplate::load(dir);
  if (chat.ok()) texts.chat = std::move(chat).value();
  else if (chat.status().code() != Code::kNotFound) return chat.status();
  if (dir == place) return texts;
  SLUICE_ASSIGN_OR_RETURN(const ModelConfig config, load_model_config(place));
  texts.tokenizer = texts.tokenizer.for_vocabulary(config.vocab_size);
  return texts;
}

std::vector<int32_t> stop_ids(const Texts* texts, const ModelConfig& config) {
  const std::vector<int64_t>& ids =
      texts && !texts->generation.eos_token_ids.empty() ? texts->generation.eos_token_ids : config.eos_token_ids;
  return {ids.begin(), ids.end()};
}

Result<std::vector<int32_t>> encode_chat(const Texts& texts, const boost::json::array& messages, bool parse_special) {
  if (!texts.chat) return Status(Code::kNotFound, "the checkpoint has no chat template", "use --raw to give the prompt as it is");
  SLUICE_ASSIGN_OR_RETURN(const ChatOutput out, texts.chat->render(messages, nullptr, true, {}));
  std::vector<Tokenizer::Span> spans;
  for (const auto& run : out.runs)
    spans.push_back({std::string_view(out.text).substr(run.begin, run.end - run.begin), run.trusted || parse_special});
  return texts.tokenizer.encode(spans);
}

Result<std::vector<int32_t>> parse_ids(const std::string& text, const std::string& where) {
  std::vector<int32_t> ids;
  const char *p = text.data(), *end = p + text.size();
  while (p < end) {
    if (std::strchr(" \t\r\n,[]", *p)) {
      ++p;
      continue;
    }
    int32_t id = 0;
    const auto [next, error] = std::from_chars(p, end, id);
    if (error != std::errc())
      return invalid(where + ": '" + std::string(p, std::min(end, p + 12)) + "' is not a token id",
                     "write numbers with commas or spaces between");
    ids.push_back(id);
    p = next;
  }
  return ids;
}

uint64_t raise_descriptor_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 0;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  return limit.rlim_cur;
}

bool stderr_is_terminal() { return isatty(STDERR_FILENO) == 1; }

void Progress::show(int64_t done, int64_t total) { show(done, total, fmt::format("{}/{}", done, total)); }

void Progress::show(int64_t done, int64_t total, const std::string& text) {
  constexpr double kInterval = 0.1;  // seconds between updates
  if (!stderr_is_terminal() || now_seconds() - last_ < kInterval) return;
  last_ = now_seconds();
  shown_ = true;
  constexpr int kWidth = 30;
  const int filled = total > 0 ? int(double(done) / double(total) * kWidth) : 0;
  fmt::print(stderr, "\r{} [{:#<{}}{:.<{}}] {}\033[K", what_, "", filled, "", kWidth - filled, text);
}

void Progress::clear() {
  if (shown_) fmt::print(stderr, "\r\033[K");
  shown_ = false;
}

void LoadingProgress::show(size_t done, size_t all) {
  constexpr double kWorthALine = 0.25;  // seconds
  const double seconds = now_seconds() - begin_, gb = double(done) / 1e9;
  const std::string rate = fmt::format("{:.1f} GB/s", gb / std::max(seconds, 1e-9));
  if (done < all) return bar_.show(int64_t(done), int64_t(all), fmt::format("{:.1f}/{:.1f} GB, {}", gb, double(all) / 1e9, rate));
  bar_.clear();
  if (!stderr_is_terminal() && seconds > kWorthALine)
    put_error_line(fmt::format("sluice: {:.1f} GB of weights in {:.1f} s, {}", gb, seconds, rate));
}

}  // namespace sluice::cli
