#include "cli/ranks.h"

#include <fmt/core.h>
#include <unistd.h>

#include <climits>
#include <cstdlib>

#include "base/out_of_memory.h"
#include "engine/follow.h"

#if SLUICE_HAS_MPI
#include "base/clock.h"
#include "cli/mpi.h"
#endif

namespace sluice::cli {

#if SLUICE_HAS_MPI
namespace {

Status to_status(const Mpi& mpi, int error, const char* what) {
  if (error == MPI_SUCCESS) return {};
  char text[MPI_MAX_ERROR_STRING] = "";
  int length = 0;
  mpi.error_string(error, text, &length);
  return {Code::kDevice, std::string(what) + ": " + text};
}

// Spins for what comes soon, as the next step does, and sleeps in between for what may take hours, such as the next request.
Status wait_for(const Mpi& mpi, MPI_Request& request, const char* what) {
  constexpr double kSpin = 0.05;    // seconds
  constexpr useconds_t kNap = 200;  // microseconds
  const double begin = now_seconds();
  for (int done = 0;;) {
    SLUICE_RETURN_IF_ERROR(to_status(mpi, mpi.test(&request, &done, MPI_STATUS_IGNORE), what));
    if (done) return {};
    if (now_seconds() - begin > kSpin) usleep(kNap);
  }
}

class MpiRanks final : public Ranks {
 public:
  MpiRanks(const Mpi& mpi, int rank, int size) : Ranks(rank, size), mpi_(mpi) {}
  ~MpiRanks() override { mpi_.finalize(); }

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
    return to_status(mpi_, mpi_.allgather(mine, int(bytes), mpi_.byte, all, int(bytes), mpi_.byte, mpi_.world), "MPI_Allgather");
  }

 private:
  Status from_first(void* data, size_t bytes) {
    if (bytes == 0) return {};
    MPI_Request request{};
    SLUICE_RETURN_IF_ERROR(to_status(mpi_, mpi_.ibcast(data, int(bytes), mpi_.byte, 0, mpi_.world, &request), "MPI_Ibcast"));
    return wait_for(mpi_, request, "MPI_Ibcast");
  }

  Mpi mpi_;
};

}  // namespace

Result<std::unique_ptr<Ranks>> join_ranks() {
  // Without a launcher the library would start parts of one, and where those are missing it writes a page about it.
  const auto set = [](const char* name) { return std::getenv(name) != nullptr; };
  if (!set("OMPI_COMM_WORLD_RANK") && !set("PMIX_RANK") && !set("PMI_RANK"))
    return invalid("--tp: this process was not started by mpirun", "start as many as --tp says: mpirun -n N sluice ...");
  SLUICE_ASSIGN_OR_RETURN(const Mpi mpi, Mpi::load());
  int threads = 0, rank = 0, size = 0;  // calls come from one thread at a time, not always the same
  SLUICE_RETURN_IF_ERROR(to_status(mpi, mpi.init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &threads), "MPI_Init"));
  mpi.comm_set_errhandler(mpi.world, mpi.errors_return);
  mpi.comm_rank(mpi.world, &rank), mpi.comm_size(mpi.world, &size);
  return std::unique_ptr<Ranks>(std::make_unique<MpiRanks>(mpi, rank, size));
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
