// Measured times of other projects' kernels, from a file that tools/bench_peers.py writes.
#pragma once

#include <map>
#include <string>

#include "base/status.h"

namespace sluice::benching {

struct Peers {
  struct Best {
    std::string name;
    double us = 0;
  };
  std::string device;                // they hold for this one
  std::map<std::string, Best> best;  // the fastest, by cell: "gdn_prefill/16,64/8x4096"
};

Result<Peers> read_peers(const std::string& path);

// docs/performance/peers-DEVICE.json in a folder above the program; empty where there is none.
std::string default_peers_path(const std::string& device);

}  // namespace sluice::benching
