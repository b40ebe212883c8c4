// What the system says of this process, under the names that Prometheus' own client libraries use.
#pragma once

#include "server/exposition.h"

namespace sluice {

// process_cpu_seconds_total, process_resident_memory_bytes, process_virtual_memory_bytes, process_open_fds, process_max_fds,
// process_start_time_seconds. What the system does not tell is left out.
void append_process_stats(Exposition& out);

}  // namespace sluice
