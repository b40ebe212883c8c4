// Threads for the work that I/O threads must not do: reading large bodies, rendering templates, tokenizing.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace sluice {

class Workers {
 public:
  // Throws std::system_error where there cannot be so many.
  explicit Workers(int threads);
  // Ends after the job in hand; what waits is dropped.
  ~Workers();
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;

  // A job that throws, for lack of memory, is dropped with all that it holds: a Responder then answers 500 by itself.
  void post(std::function<void()> job);

 private:
  void run();
  void end();

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> jobs_;
  bool stop_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace sluice
