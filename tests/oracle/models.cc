// Model cases: logits, greedy continuations and log-probabilities of tiny checkpoints against transformers.
#include <algorithm>
#include <filesystem>

#include "core/memory.h"
#include "engine/scheduler.h"
#include "io/json.h"
#include "io/safetensors.h"
#include "tests/oracle/parts.h"

namespace sluice {
namespace {

namespace fs = std::filesystem;

std::vector<int32_t> ids_of(const Tensor& t) { return {t.as<int32_t>(), t.as<int32_t>() + t.numel()}; }

// The prompts of a case file: names P with a tensor P.input_ids.
std::vector<std::string> prompts_of(const SafetensorsFile& file) {
  constexpr std::string_view kSuffix = ".input_ids";
  std::vector<std::string> prompts;
  for (const auto& name : file.names())
    if (name.ends_with(kSuffix)) prompts.push_back(name.substr(0, name.size() - kSuffix.size()));
  std::ranges::sort(prompts);
  return prompts;
}

double percentile(std::vector<double> v, double p) {
  if (v.empty()) return NAN;
  std::ranges::sort(v);
  return v[std::min(v.size() - 1, size_t(p * double(v.size())))];
}

// Logits of every position, row-major.
Result<std::vector<float>> all_logits(Engine& engine, const std::vector<int32_t>& ids) {
  SLUICE_ASSIGN_OR_RETURN(const auto s, engine.open(ids));
  const Work work{s.get(), int64_t(ids.size()), WantLogits::kAll};
  const auto step = engine.step({&work, 1});
  engine.close(*s);
  if (!step.ok()) return step.status();
  return host_copy<float>(engine.context(), step->logits);
}

Result<std::vector<int32_t>> greedy(Engine& engine, const std::vector<int32_t>& prompt, int64_t count, bool stop_at_eos) {
  Request request{.prompt = prompt, .max_tokens = count};
  const auto& eos = engine.model().config().eos_token_ids;
  if (stop_at_eos) request.sampling.stop_ids = {eos.begin(), eos.end()};
  Scheduler scheduler(engine);
  SLUICE_ASSIGN_OR_RETURN(const Answer a, answer(scheduler, std::move(request)));
  return ids_of(a.tokens);
}

struct Row {
  const float* logits;
  int64_t vocab;
  int64_t best() const { return std::max_element(logits, logits + vocab) - logits; }
  double logprob(int64_t id) const {
    const double top = *std::max_element(logits, logits + vocab);
    double sum = 0;
    for (int64_t i = 0; i < vocab; ++i) sum += std::exp(double(logits[i]) - top);
    return double(logits[id]) - top - std::log(sum);
  }
};

class ModelCheck {
 public:
  ModelCheck(std::string name, Engine& engine, const SafetensorsFile& oracle, const boost::json::object& tolerance, Report& report)
      : name_(std::move(name)), engine_(engine), oracle_(oracle), tolerance_(tolerance), report_(report) {}

  void run(bool bf16) {
    for (const std::string& prompt : prompts_of(oracle_))
      if (const Status s = bf16 ? gather_bf16(prompt) : check_fp32(prompt); !s.ok())
        report_.check(name_ + " " + prompt, false, s.to_string());
    if (bf16) report_bf16();
  }

 private:
  double limit(const char* key) const { return tolerance_.at(key).to_number<double>(); }
  const Tensor& tensor(const std::string& prompt, const char* what) const { return *oracle_.find(prompt + "." + what); }

  Status check_fp32(const std::string& prompt) {
    const std::vector<int32_t> ids = ids_of(tensor(prompt, "input_ids")), want = ids_of(tensor(prompt, "greedy_ids"));
    SLUICE_ASSIGN_OR_RETURN(const std::vector<float> logits, all_logits(engine_, ids));
    report_.at_most(name_ + " " + prompt + " logits_last", last_logits_error(prompt, logits), limit("fp32_logits_max_abs"));
    SLUICE_ASSIGN_OR_RETURN(const std::vector<int32_t> got, greedy(engine_, ids, int64_t(want.size()), false));
    report_.check(name_ + " " + prompt + " greedy_ids", got == want, std::to_string(want.size()) + " ids");

    // Teacher-forced over prompt and continuation: the cached run above and this one pass must tell the same.
    std::vector<int32_t> all = ids;
    all.insert(all.end(), want.begin(), want.end());
    SLUICE_ASSIGN_OR_RETURN(const std::vector<float> forced, all_logits(engine_, all));
    const Tensor& logprobs = tensor(prompt, "next_logprobs");
    double worst = 0;
    for (int64_t i = 0; i < logprobs.numel(); ++i)
      worst = std::max(worst, std::abs(row(forced, i).logprob(all[size_t(i) + 1]) - logprobs.as<float>()[i]));
    report_.at_most(name_ + " " + prompt + " next_logprobs", worst, 2 * limit("fp32_logits_max_abs"));
    return {};
  }

  Status gather_bf16(const std::string& prompt) {
    std::vector<int32_t> all = ids_of(tensor(prompt, "input_ids"));
    const int64_t length = int64_t(all.size());
    const std::vector<int32_t> greedy_ids = ids_of(tensor(prompt, "greedy_ids"));
    all.insert(all.end(), greedy_ids.begin(), greedy_ids.end());
    SLUICE_ASSIGN_OR_RETURN(const std::vector<float> logits, all_logits(engine_, all));
    const Tensor& logprobs = tensor(prompt, "next_logprobs");
    for (int64_t i = 0; i < logprobs.numel(); ++i)
      logprob_errors_.push_back(std::abs(row(logits, i).logprob(all[size_t(i) + 1]) - logprobs.as<float>()[i]));
    const Tensor& top1 = tensor(prompt, "top1");
    for (int64_t i = 0; i < length; ++i) top1_equal_ += row(logits, i).best() == top1.as<int32_t>()[i], ++top1_count_;
    const Tensor& last = tensor(prompt, "logits_last");
    for (int64_t r = 0; r < last.dim(0); ++r) last_errors_.push_back(row_error(row(logits, length - last.dim(0) + r), last, r));
    return {};
  }

  void report_bf16() {
    report_.at_most(name_ + " next_logprob p50", percentile(logprob_errors_, 0.5), limit("bf16_next_logprob_abs_p50"));
    report_.at_most(name_ + " next_logprob p90", percentile(logprob_errors_, 0.9), limit("bf16_next_logprob_abs_p90"));
    report_.at_least(name_ + " top1 agreement", double(top1_equal_) / double(std::max<int64_t>(top1_count_, 1)),
                     limit("bf16_top1_agree_min"));
    report_.at_most(name_ + " last logits p50", percentile(last_errors_, 0.5), limit("bf16_last_logits_max_abs_p50"));
  }

  Row row(const std::vector<float>& logits, int64_t i) const {
    const int64_t vocab = engine_.model().config().vocab_size;
    return {logits.data() + i * vocab, vocab};
  }
  double row_error(Row got, const Tensor& want, int64_t r) const {
    double worst = 0;
    for (int64_t i = 0; i < got.vocab; ++i) {
      const double d = std::abs(double(got.logits[i]) - want.as<float>()[r * got.vocab + i]);
      if (!(d <= worst)) worst = std::isnan(d) ? INFINITY : d;
    }
    return worst;
  }
  double last_logits_error(const std::string& prompt, const std::vector<float>& logits) const {
    const Tensor& last = tensor(prompt, "logits_last");
    const int64_t rows = int64_t(logits.size()) / last.dim(1);
    double worst = 0;
    for (int64_t r = 0; r < last.dim(0); ++r) worst = std::max(worst, row_error(row(logits, rows - last.dim(0) + r), last, r));
    return worst;
  }

  std::string name_;
  Engine& engine_;
  const SafetensorsFile& oracle_;
  const boost::json::object& tolerance_;
  Report& report_;
  std::vector<double> logprob_errors_, last_errors_;
  int64_t top1_equal_ = 0, top1_count_ = 0;
};

// The checkpoint with the other spelling of its configuration, as links in a folder of its own.
Result<std::string> published_style_folder(const fs::path& model) {
  const fs::path folder =
      fs::temp_directory_path() / ("sluice_oracle_" + std::to_string(getpid()) + "_" + model.filename().string());
  std::error_code ec;
  fs::create_directories(folder, ec);
  for (const auto& [link, target] :
       {std::pair{"config.json", "config.published_style.json"}, {"model.safetensors", "model.safetensors"}}) {
    fs::remove(folder / link, ec);
    fs::create_symlink(fs::absolute(model / target), folder / link, ec);
    if (ec) return Status(Code::kIo, (folder / link).string() + ": " + ec.message());
  }
  return folder.string();
}

Status check_model(const OracleOptions& o, const fs::path& folder, Report& report) {
  const std::string name = "models/" + folder.filename().string();
  SLUICE_ASSIGN_OR_RETURN(const std::string text, read_small_file((folder / "oracle.json").string(), size_t(16) << 20));
  SLUICE_ASSIGN_OR_RETURN(const boost::json::value about, parse_json(text, name));
  SLUICE_ASSIGN_OR_RETURN(const SafetensorsFile oracle, SafetensorsFile::open((folder / "oracle.safetensors").string()));
  const auto& tolerance = about.at("tolerance").as_object();
  for (const std::string& dtype : o.dtypes) {
    for (const bool published : {false, true}) {
      std::string dir = folder.string();
      if (published) {
        if (dtype != "fp32" || !fs::exists(folder / "config.published_style.json")) continue;
        SLUICE_ASSIGN_OR_RETURN(dir, published_style_folder(folder));
      }
      const auto engine = Engine::create({.model = dir,
                                          .dtype = dtype == "bf16" ? DTypeChoice::kBF16 : DTypeChoice::kF32,
                                          .device = o.device,
                                          .threads = o.threads});
      if (published) fs::remove_all(dir);
      const std::string label = name + " " + dtype + (published ? " published style" : "");
      if (!engine.ok()) {
        if (engine.status().code() != Code::kUnsupported) return engine.status();
        report.skip(label, engine.status().message());
        continue;
      }
      ModelCheck(label, **engine, oracle, tolerance, report).run(dtype == "bf16");
    }
  }
  return {};
}

}  // namespace

void check_models(const OracleOptions& o, Report& report) {
  std::vector<fs::path> folders;
  std::error_code ec;
  for (const auto& entry : fs::directory_iterator(o.folder + "/models", ec))
    if (fs::exists(entry.path() / "oracle.safetensors")) folders.push_back(entry.path());
  std::ranges::sort(folders);
  for (const auto& folder : folders) {
    const std::string name = "models/" + folder.filename().string();
    if (!o.wants(name)) continue;
    if (const Status s = check_model(o, folder, report); !s.ok()) report.check(name, false, s.to_string());
  }
}

}  // namespace sluice
