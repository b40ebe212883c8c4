// A checkpoint with its linear layers as fp8 in blocks of 128 x 128, as published since DeepSeek-V3, and one with the same numbers
// as fp32.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <cmath>
#include <deque>

#include "core/quantised.h"
#include "io/checkpoint.h"
#include "io/json.h"
#include "tests/support/temp_dir.h"

namespace sluice::testing {

inline boost::json::object config_of(const std::string& model) {
  const std::string path = model + "/config.json";
  return parse_json(read_small_file(path, 1 << 20).value(), path).value().get_object();
}

class Fp8Checkpoint {
 public:
  explicit Fp8Checkpoint(const std::string& from) {
    const Checkpoint original = Checkpoint::open(from).value();
    boost::json::array left{"lm_head"};
    for (const std::string& name : original.names()) {
      const Tensor& t = *original.find(name);
      const std::string module = name.substr(0, name.rfind('.'));
      if (name.ends_with("_proj.weight") || name == "mtp.fc.weight") {
        add(module, t);
        continue;
      }
      codes_.emplace_back(name, t), dequantised_.emplace_back(name, t);
      if (t.rank == 2) left.emplace_back(module);
    }
    boost::json::object config = config_of(from);
    write("fp32", dequantised_, config);
    config["quantization_config"] = {{"quant_method", "fp8"},
                                     {"activation_scheme", "dynamic"},
                                     {"weight_block_size", {128, 128}},
                                     {"modules_to_not_convert", left}};
    write("fp8", codes_, config);
  }
  std::string fp8() const { return dir_ / "fp8"; }
  std::string fp32() const { return dir_ / "fp32"; }

 private:
  using Named = std::pair<std::string, Tensor>;

  void add(const std::string& module, const Tensor& t) {
    const int64_t N = t.dim(0), K = t.dim(1), blocks = ceil_div(K, kFp8Block);
    std::vector<float>& scale = floats_.emplace_back(size_t(ceil_div(N, kFp8Block) * blocks));
    std::vector<float>& values = floats_.emplace_back(size_t(N * K));
    std::vector<F8E4M3>& codes = bytes_.emplace_back(size_t(N * K));
    const auto scale_of = [&](int64_t n, int64_t k) -> float& { return scale[size_t(n / kFp8Block * blocks + k / kFp8Block)]; };
    const auto value = [&](int64_t n, int64_t k) { return float(t.as<Bf16>()[n * K + k]); };
    for (int64_t n = 0; n < N; ++n)
      for (int64_t k = 0; k < K; ++k) scale_of(n, k) = std::max(scale_of(n, k), std::abs(value(n, k)));
    for (float& s : scale) s /= 448;  // the largest e4m3
    for (int64_t n = 0; n < N; ++n)
      for (int64_t k = 0; k < K; ++k) {
        const size_t i = size_t(n * K + k);
        codes[i] = F8E4M3(value(n, k) / scale_of(n, k)), values[i] = float(codes[i]) * scale_of(n, k);
      }
    codes_.emplace_back(module + ".weight", Tensor::of(codes.data(), {N, K}));
    codes_.emplace_back(module + ".weight_scale_inv", Tensor::of(scale.data(), {ceil_div(N, kFp8Block), blocks}));
    dequantised_.emplace_back(module + ".weight", Tensor::of(values.data(), {N, K}));
  }

  void write(const std::string& name, const std::vector<Named>& tensors, const boost::json::object& config) {
    dir_.write(name + "/config.json", boost::json::serialize(config));
    const Status written = write_safetensors(dir_ / (name + "/model.safetensors"), tensors);
    EXPECT_TRUE(written.ok()) << written.to_string();
  }

  TempDir dir_;
  std::deque<std::vector<float>> floats_;
  std::deque<std::vector<F8E4M3>> bytes_;
  std::vector<Named> codes_, dequantised_;
};

}  // namespace sluice::testing
