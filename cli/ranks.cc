#include "cli/ranks.h"

#include <fmt/core.h>
#include <unistd.h>

#include <climits>
#include <cstdlib>

#include "base/out_of_memory.h"
#include "engine/follow.h"

#if SLUICE_HAS_MPI
#include <mpi.h>

#include "base/clock.h"
#endif

namespace sluice::cli {

#if SLUICE_HAS_MPI
namespace {

Status to_status(int error, const char* what) {
  if (error == MPI_SUCCESS) return {};
  char text[MPI_MAX_ERROR_STRING] = "";
  int length = 0;
  MPI_Error_string(error, text, &length);
  return {Code::kDevice, std::string(what) + ": " + text};
}

// Spins for what comes soon, as the next step does, and sleeps in between for what may take hours, such as the next request.
Status wait_for(MPI_Request& request, const char* what) {
  constexpr double kSpin = 0.05;    // seconds
  constexpr useconds_t kNap = 200;  // microseconds
  const double begin = now_seconds();
  for (int done = 0;;) {
    SLUICE_RETURN_IF_ERROR(to_status(MPI_Test(&request, &done, MPI_STATUS_IGNORE), what));
    if (done) return {};
    if (now_seconds() - begin > kSpin) usleep(kNap);
  }
}

class MpiRanks final : public Ranks {
 public:
  MpiRanks(int rank, int size) : Ranks(rank, size) {}
  ~MpiRanks() override { MPI_Finalize(); }

  Status broadcast(std::vector<std::byte>& bytes) override {
    uint64_t size = bytes.size();
    SLUICE_RETURN_IF_ERROR(from_first(&size, sizeof size));
    bytes.resize(size);
    return from_first(bytes.data(), bytes.size());
  }

  Status gather(const void* mine, size_t bytes, void* all) override {
    if (bytes == 0) return {};
    if (bytes > size_t(INT_MAX))
      return {Code::kResourceExhausted, "more than 2 GiB at once between ranks", "use a smaller --prefill-chunk"};
    return to_status(MPI_Allgather(mine, int(bytes), MPI_BYTE, all, int(bytes), MPI_BYTE, MPI_COMM_WORLD), "MPI_Allgather");
  }

 private:
  Status from_first(void* data, size_t bytes) {
    if (bytes == 0) return {};
    MPI_Request request = MPI_REQUEST_NULL;
    SLUICE_RETURN_IF_ERROR(to_status(MPI_Ibcast(data, int(bytes), MPI_BYTE, 0, MPI_COMM_WORLD, &request), "MPI_Ibcast"));
    return wait_for(request, "MPI_Ibcast");
  }
};

}  // namespace

Result<std::unique_ptr<Ranks>> join_ranks() {
  // Without a launcher the library would start parts of one, and where those are missing it writes a page about it.
  const auto set = [](const char* name) { return std::getenv(name) != nullptr; };
  if (!set("OMPI_COMM_WORLD_RANK") && !set("PMIX_RANK") && !set("PMI_RANK"))
    return invalid("--tp: this process was not started by mpirun", "start as many as --tp says: mpirun -n N sluice ...");
  int threads = 0, rank = 0, size = 0;  // calls come from one thread at a time, not always the same
  SLUICE_RETURN_IF_ERROR(to_status(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &threads), "MPI_Init"));
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank), MPI_Comm_size(MPI_COMM_WORLD, &size);
  return std::unique_ptr<Ranks>(std::make_unique<MpiRanks>(rank, size));
}

#else

Result<std::unique_ptr<Ranks>> join_ranks() {
  return Status(Code::kUnsupported, "--tp: this program was built without MPI", "install libopenmpi-dev and build it again");
}

#endif

namespace {

// As long as rank 0 may need to say the same.
constexpr unsigned kGrace = 1;  // seconds

// A process that ends without MPI's farewell ends the others: what they wait for may never come.
int end_all(std::unique_ptr<Ranks> ranks, int code) {
  (void)ranks.release();
  return code;
}

int lead(std::unique_ptr<Ranks> ranks, ModelOptions& o, const Command& command) {
  o.ranks = ranks.get();
  int code = kFailure;
  try {
    code = command();
  } catch (...) {
    end_all(std::move(ranks), code);
    throw;
  }
  if (code == kLost) return end_all(std::move(ranks), code);
  const Status left = tell(*ranks, {.kind = Order::Kind::kLeave});
  return left.ok() ? code : end_all(std::move(ranks), fail(left));
}

int follow_first(std::unique_ptr<Ranks> ranks) {
  const Status followed = or_out_of_memory([&] { return follow(*ranks); });
  if (followed.ok()) return 0;
  sleep(kGrace);
  return end_all(std::move(ranks), fail(followed));
}

}  // namespace

Command among_ranks(ModelOptions& o, Command command) {
  return [&o, command = std::move(command)] {
    if (o.tp == 1) return command();
    auto ranks = join_ranks();
    if (!ranks.ok()) return fail(ranks.status());
    const bool leads = (*ranks)->leads();
    if (const int size = (*ranks)->size(); size != o.tp)
      return leads ? fail(invalid(fmt::format("--tp {} needs as many processes, and mpirun started {}", o.tp, size),
                                  fmt::format("start it with mpirun -n {}", o.tp)))
                   : kFailure;
    return leads ? lead(std::move(*ranks), o, command) : follow_first(std::move(*ranks));
  };
}

}  // namespace sluice::cli
