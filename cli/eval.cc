// sluice eval: answers to tasks with a known answer, counted by task.
#include <fmt/core.h>

#include <boost/json.hpp>
#include <filesystem>
#include <map>
#include <sstream>

#include "cli/command.h"
#include "cli/ranks.h"
#include "io/json.h"

namespace sluice::cli {
namespace {

struct EvalOptions {
  ModelOptions model;
  std::string tasks;
  std::vector<std::string> only;
  int64_t limit = 0, max_tokens = 96;
  double min_accuracy = 0;
  bool json = false;
};

struct Task {
  std::string name, user, expected;
};

struct Tally {
  int64_t correct = 0, count = 0;
  double accuracy() const { return count ? double(correct) / double(count) : 0; }
};

Result<Task> parse_task(const std::string& line, const std::string& where) {
  SLUICE_ASSIGN_OR_RETURN(const boost::json::value v, parse_json(line, where));
  Task t;
  for (auto [key, field] : {std::pair<const char*, std::string*>{"task", &t.name}, {"user", &t.user}, {"expected", &t.expected}}) {
    const auto* s = v.is_object() && v.as_object().contains(key) ? v.at(key).if_string() : nullptr;
    if (!s)
      return bad_file(where + ": field '" + key + "' is missing or no string",
                      "a row is {\"task\": ..., \"user\": ..., \"expected\": ...}");
    *field = std::string(*s);
  }
  return t;
}

// The first `limit` rows of each task wanted.
Result<std::vector<Task>> read_tasks(const EvalOptions& o, const std::string& path) {
  constexpr size_t kCap = size_t(256) << 20;  // bytes
  SLUICE_ASSIGN_OR_RETURN(const std::string text, read_small_file(path, kCap));
  std::istringstream lines(text);
  std::vector<Task> tasks;
  std::map<std::string, int64_t> taken;
  std::string line;
  for (int64_t n = 1; std::getline(lines, line); ++n) {
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    SLUICE_ASSIGN_OR_RETURN(Task t, parse_task(line, path + ":" + std::to_string(n)));
    if (!o.only.empty() && std::ranges::count(o.only, t.name) == 0) continue;
    if (o.limit > 0 && taken[t.name]++ >= o.limit) continue;
    tasks.push_back(std::move(t));
  }
  if (tasks.empty()) return bad_file(path + ": holds no task that was asked for");
  return tasks;
}

// Tasks answered in the same steps, and tokens of memory planned for each: longer ones leave fewer at once.
constexpr int64_t kAtOnce = 8, kTaskTokens = 4096;

// What stands between "The answer is " and the next full stop, of the last such sentence.
std::string final_answer(const std::string& text) {
  constexpr std::string_view kPhrase = "The answer is ";
  const size_t at = text.rfind(kPhrase);
  if (at == std::string::npos) return {};
  const size_t begin = at + kPhrase.size();
  return text.substr(begin, text.find('.', begin) - begin);
}

void print_table(const std::map<std::string, Tally>& tallies) {
  fmt::print("{:<16} {:>8} {:>6} {:>9}\n", "task", "correct", "count", "accuracy");
  for (const auto& [name, t] : tallies) fmt::print("{:<16} {:>8} {:>6} {:>9.4f}\n", name, t.correct, t.count, t.accuracy());
}

void print_json(const std::map<std::string, Tally>& tallies) {
  boost::json::object tasks;
  for (const auto& [name, t] : tallies) tasks[name] = {{"correct", t.correct}, {"count", t.count}, {"accuracy", t.accuracy()}};
  fmt::print("{}\n", boost::json::serialize(boost::json::object{{"tasks", tasks}}));
}

Result<bool> eval(const EvalOptions& o) {
  SLUICE_ASSIGN_OR_RETURN(const std::string dir, model_dir(o.model));
  const std::string path =
      o.tasks.empty() ? (std::filesystem::path(dir) / ".." / "tasks.jsonl").lexically_normal().string() : o.tasks;
  SLUICE_ASSIGN_OR_RETURN(const auto tasks, read_tasks(o, path));
  SLUICE_ASSIGN_OR_RETURN(const auto engine, make_engine(o.model));
  put_notes(*engine);
  const FallbackWarnings warnings(*engine);
  SLUICE_ASSIGN_OR_RETURN(const Texts texts, load_texts(o.model));
  std::map<std::string, Tally> tallies;
  Scheduler scheduler(*engine);
  struct Running {
    const Task* task;
    std::shared_ptr<Outbox> outbox;
    std::string text;
  };
  std::vector<Running> running;
  for (const Task& task : tasks) {
    Request request{.max_tokens = o.max_tokens, .tokenizer = &texts.tokenizer};
    request.sampling.stop_ids = stop_ids(&texts, engine->model().config());
    SLUICE_ASSIGN_OR_RETURN(request.prompt, encode_chat(texts, {{{"role", "user"}, {"content", task.user}}}, false));
    running.push_back({&task, std::make_shared<Outbox>(), {}});
    scheduler.submit(running.size(), std::move(request), running.back().outbox);
  }
  Progress progress("evaluating");
  while (!running.empty()) {
    SLUICE_RETURN_IF_ERROR(scheduler.step());
    for (Running& r : running)
      while (r.outbox)
        if (const auto event = r.outbox->pop(); !event) break;
        else {
          if (event->finish == FinishReason::kError) return event->error;
          r.text += event->text;
          if (event->finish == FinishReason::kNone) continue;
          Tally& t = tallies[r.task->name];
          ++t.count;
          t.correct += final_answer(r.text) == r.task->expected;
          r.outbox.reset();
        }
    std::erase_if(running, [](const Running& r) { return !r.outbox; });
    progress.show(int64_t(tasks.size() - running.size()), int64_t(tasks.size()));
  }
  progress.clear();
  o.json ? print_json(tallies) : print_table(tallies);
  return std::ranges::all_of(tallies, [&](const auto& entry) { return entry.second.accuracy() >= o.min_accuracy; });
}

}  // namespace

void add_eval(CLI::App& app, Command& command) {
  auto o = std::make_shared<EvalOptions>();
  CLI::App* sub = app.add_subcommand("eval", "count right answers over a file of tasks")->group("Measure");
  add_model_options(*sub, o->model);
  add_speculation_option(*sub, o->model);
  sub->add_option("TASKS", o->tasks, "JSON lines {task, user, expected}; tasks.jsonl beside the model's folder if left out")
      ->type_name(kFile);
  sub->add_option("--task", o->only, "only tasks of this name; may be given several times")->type_name("NAME");
  sub->add_option("--limit", o->limit, "only the first so many of each task; 0: all")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  sub->add_option("-n,--max-tokens", o->max_tokens, "most new tokens an answer")->check(CLI::PositiveNumber)->capture_default_str();
  sub->add_option("--min-accuracy", o->min_accuracy, "exit with 1 when any task is below this share")->check(CLI::Range(0.0, 1.0));
  sub->add_flag("--json", o->json, R"(print {"tasks": {NAME: {"correct", "count", "accuracy"}}})");
  sub->callback([o, &command] {
    command = among_ranks(o->model, [o] {
      const auto reached = eval(*o);
      if (!reached.ok()) return fail(reached.status());
      if (!*reached) return fail({Code::kModelError, fmt::format("an accuracy is below --min-accuracy {}", o->min_accuracy)});
      return 0;
    });
  });
}

}  // namespace sluice::cli
