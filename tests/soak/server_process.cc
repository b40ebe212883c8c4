#include "tests/soak/server_process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "base/clock.h"

namespace sluice::soak {
namespace fs = std::filesystem;

ModelFolder::ModelFolder(const std::string& source_dir) {
  std::string name = (fs::temp_directory_path() / "sluice-soak-XXXXXX").string();
  if (!mkdtemp(name.data())) return;  // the server will say that there is no model
  path_ = name + "/demo";
  fs::create_directory(path_);
  for (const auto& file : fs::directory_iterator(source_dir + "/demo/model")) {
    if (file.path().filename() != "chat_template.jinja") fs::create_symlink(file.path(), fs::path(path_) / file.path().filename());
  }
  fs::create_symlink(source_dir + "/tests/data/oracles/tokenizer/chat_template_b.jinja", path_ + "/chat_template.jinja");
}

ModelFolder::~ModelFolder() {
  std::error_code ignored;
  if (!path_.empty()) fs::remove_all(fs::path(path_).parent_path(), ignored);
}

Result<ServerProcess> ServerProcess::start(const std::string& program, std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), program);
  std::vector<char*> argv;
  for (std::string& a : arguments) argv.push_back(a.data());
  argv.push_back(nullptr);
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return Status(Code::kIo, "cannot make a pipe");
  const pid_t pid = fork();
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);  // whatever ends this program ends the server
    dup2(ends[1], STDOUT_FILENO);
    execv(argv[0], argv.data());
    _exit(127);
  }
  close(ends[1]);
  FILE* output = fdopen(ends[0], "r");
  ServerProcess server(pid, output, {});
  char line[4096] = "";
  const std::string said = fgets(line, sizeof line, output) ? line : "";
  const size_t at = said.find("http://");
  if (at == std::string::npos)
    return Status(Code::kIo, "the server did not say its address but '" + said + "'", "give --program the path of sluice");
  SLUICE_ASSIGN_OR_RETURN(server.url_, bench::parse_url(said.substr(at, said.find_last_not_of('\n') + 1 - at)));
  return server;
}

ServerProcess::ServerProcess(ServerProcess&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)), output_(std::exchange(other.output_, nullptr)), url_(std::move(other.url_)) {}

ServerProcess::~ServerProcess() {
  if (pid_ > 0) {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  if (output_) fclose(output_);
}

int ServerProcess::stop(double seconds) {
  kill(pid_, SIGTERM);
  int status = 0;
  for (const double end = now_seconds() + seconds; waitpid(pid_, &status, WNOHANG) == 0;) {
    if (now_seconds() > end) return -1;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  pid_ = -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

double ServerProcess::cpu_seconds() const {
  std::ifstream stat(proc("stat"));
  std::string name;
  std::getline(stat, name, ')');  // it may have spaces
  std::string skipped;
  for (int i = 0; i < 11; ++i) stat >> skipped;
  double user = 0, system = 0;
  stat >> user >> system;
  return (user + system) / double(sysconf(_SC_CLK_TCK));
}

int64_t ServerProcess::descriptors() const { return std::distance(fs::directory_iterator(proc("fd")), {}); }
int64_t ServerProcess::threads() const { return std::distance(fs::directory_iterator(proc("task")), {}); }

int64_t ServerProcess::own_bytes() const {
  std::ifstream rollup(proc("smaps_rollup"));
  int64_t kilobytes = 0;
  for (std::string name, rest; rollup >> name && std::getline(rollup, rest);)
    if (name == "Anonymous:" || name == "Swap:") kilobytes += std::atoll(rest.c_str());
  return kilobytes << 10;
}

}  // namespace sluice::soak
