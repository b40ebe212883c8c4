// MPI, loaded when ranks are asked for: a program that runs alone needs none of it. The header gives types and constants.
#pragma once

#include <mpi.h>

#include "base/library.h"

namespace sluice::cli {

struct Mpi {
  decltype(&MPI_Init_thread) init_thread = nullptr;
  decltype(&MPI_Finalize) finalize = nullptr;
  decltype(&MPI_Comm_set_errhandler) comm_set_errhandler = nullptr;
  decltype(&MPI_Comm_rank) comm_rank = nullptr;
  decltype(&MPI_Comm_size) comm_size = nullptr;
  decltype(&MPI_Error_string) error_string = nullptr;
  decltype(&MPI_Test) test = nullptr;
  decltype(&MPI_Ibcast) ibcast = nullptr;
  decltype(&MPI_Allgather) allgather = nullptr;
#ifdef OPEN_MPI  // whose handles are addresses of the library's variables; others' are numbers
  MPI_Comm world = nullptr;
  MPI_Datatype byte = nullptr;
  MPI_Errhandler errors_return = nullptr;
#else
  MPI_Comm world = MPI_COMM_WORLD;
  MPI_Datatype byte = MPI_BYTE;
  MPI_Errhandler errors_return = MPI_ERRORS_RETURN;
#endif

  static Result<Mpi> load() {
#ifdef OPEN_MPI
    constexpr const char *kNames[] = {"libmpi.so.40"}, *kProduct = "Open MPI (Debian: openmpi-bin)";
#else
    constexpr const char *kNames[] = {"libmpich.so.12", "libmpi.so.12"}, *kProduct = "MPICH (Debian: mpich)";
#endif
    SLUICE_ASSIGN_OR_RETURN(Library library, Library::open(kNames, "--tp: MPI", kProduct));
    Mpi mpi;
    library.find("MPI_Init_thread", mpi.init_thread)
        .find("MPI_Finalize", mpi.finalize)
        .find("MPI_Comm_set_errhandler", mpi.comm_set_errhandler)
        .find("MPI_Comm_rank", mpi.comm_rank)
        .find("MPI_Comm_size", mpi.comm_size)
        .find("MPI_Error_string", mpi.error_string)
        .find("MPI_Test", mpi.test)
        .find("MPI_Ibcast", mpi.ibcast)
        .find("MPI_Allgather", mpi.allgather);
#ifdef OPEN_MPI
    library.find("ompi_mpi_comm_world", mpi.world)
        .find("ompi_mpi_byte", mpi.byte)
        .find("ompi_mpi_errors_return", mpi.errors_return);
#endif
    SLUICE_RETURN_IF_ERROR(library.complete("--tp: MPI"));
    return mpi;
  }
};

}  // namespace sluice::cli
