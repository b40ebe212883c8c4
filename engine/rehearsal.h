// The largest steps that a scheduler makes, before there is anything to compute: for the workspace that they take, and so that what
// a device does once, at the first call of its kernels and libraries, is done before somebody waits.
#pragma once

#include "engine/engine.h"

namespace sluice {

// Of so many prompt tokens, beside as many running sequences as the engine may have. All sequences share slot 0 and page 0 of the
// engine's pools: what is computed means nothing.
Status rehearse(Engine& engine, int64_t prompt_tokens);

}  // namespace sluice
