// The smallest pools, for tests of what is kept in them.
#pragma once

#include "models/model.h"

namespace sluice::testing {

inline constexpr PoolSpec kSmallPools{.linear_layers = 1,
                                      .key_heads = 1,
                                      .value_heads = 1,
                                      .key_dim = 16,
                                      .value_dim = 16,
                                      .conv_channels = 16,
                                      .conv_width = 4,
                                      .attention_layers = 1,
                                      .kv_heads = 1,
                                      .head_dim = 16};

}  // namespace sluice::testing
