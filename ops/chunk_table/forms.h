// The implementations, one a file. There is no vector form: the tables are a few hundred numbers.
#pragma once

#include "ops/chunk_table/chunk_table.h"

namespace sluice {

Status chunk_table_reference(Context&, const ChunkTableArgs&, std::byte*);
Status chunk_table_cpu(Context&, const ChunkTableArgs&, std::byte*);
Status chunk_table_cuda(Context&, const ChunkTableArgs&, std::byte*);

}  // namespace sluice
