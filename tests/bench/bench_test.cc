// The bench's own parts: inputs are the same in every memory, and the comparison sees what is wrong.
#include <gtest/gtest.h>

#include "ops/gdn_chunk/bench_testing.h"
#include "tests/bench/compare.h"

namespace sluice::benching {
namespace {

// Memory of the host that says it is a GPU's, so that tensors are laid out as there.
class PretendedGpu : public HostMemory {
 public:
  using HostMemory::HostMemory;
  Device device() const override { return {DeviceKind::kCuda, 0}; }
};

// The host's view of what lies in pretended GPU memory.
std::vector<HostCopy> read(std::vector<Tensor> tensors) {
  for (Tensor& t : tensors) t.device = {};
  return copy_to_host(tensors).value();
}

TEST(Bench, InputsAreTheSameInEveryMemory) {
  for (const DType state : {DType::kF32, DType::kBF16}) {
    auto patterns = std::make_shared<Patterns>();
    HostMemory host(patterns);
    PretendedGpu gpu(patterns);
    Inputs on_host(host), on_gpu(gpu);
    const GdnProblem p{.HK = 2, .HV = 4, .K = 48, .V = 96, .lengths = {3, 70}, .io = DType::kBF16, .state = state, .R = 16};
    const GdnArgs a = gdn_inputs(on_host, p), b = gdn_inputs(on_gpu, p);
    EXPECT_EQ(b.state.s.stride[2], 1);
    EXPECT_EQ(a.state.s.dtype, DType::kF32);
    EXPECT_EQ(b.state.s.dtype, state);
    EXPECT_EQ(difference(read({b.q, b.k, b.v, b.log_g, b.beta, b.state.s, b.state.k, b.state.u, b.state.g}),
                         read({a.q, a.k, a.v, a.log_g, a.beta, a.state.s, a.state.k, a.state.u, a.state.g})),
              0);
  }
}

TEST(Bench, TheFirstSequencesOfABatchAreTheSameAlone) {
  HostMemory all, few;
  Inputs in_all(all), in_few(few, 0, 2);
  EXPECT_EQ(in_few.sequences(9), 2);
  const auto inputs = [](Inputs& in) {
    return gdn_inputs(
        in, {.HK = 2, .HV = 4, .K = 128, .V = 128, .lengths = std::vector<int64_t>(size_t(in.sequences(20)), 1), .R = 16});
  };
  const GdnArgs a = inputs(in_all), b = inputs(in_few);
  EXPECT_GT(a.state.s.numel(), 1000003);  // longer than what is drawn
  EXPECT_EQ(difference(read({a.q, a.v, a.log_g, a.state.s, a.state.u}), read({b.q, b.v, b.log_g, b.state.s, b.state.u})), 0);
}

TEST(Bench, DifferenceIsRelativeAndSeesWhatWasNotWritten) {
  HostMemory memory;
  Inputs in(memory);
  const Tensor x = in.normal(DType::kF32, {5, 7}), zero = in.normal(DType::kF32, {5, 7}, [](float) { return 0.0f; });
  Tensor off = in.normal(DType::kF32, {5, 7});
  for (int64_t i = 0; i < 35; ++i) off.as<float>()[i] = 1.01f * x.as<float>()[i];
  EXPECT_EQ(difference(read({x}), read({x})), 0);
  EXPECT_NEAR(difference(read({x, off}), read({x, x})), 0.01, 1e-6);
  EXPECT_EQ(difference(read({zero}), read({zero})), 0);
  EXPECT_EQ(difference(read({x, in.output(DType::kF32, {5, 7})}), read({x, x})), INFINITY);
  EXPECT_EQ(difference({}, {}), INFINITY);  // nothing compared is no agreement
  EXPECT_EQ(difference(read({in.ints({7, 1 << 30})}), read({in.ints({7, 1 << 30})})), 0);
  EXPECT_GT(difference(read({in.ints({7, (1 << 30) + 1})}), read({in.ints({7, 1 << 30})})), 0);
}

TEST(Bench, StepsGoRoundTheirCycle) {
  HostMemory memory;
  EXPECT_EQ(Inputs(memory, 0).step(16), 0);
  EXPECT_EQ(Inputs(memory, 17).step(16), 1);
  EXPECT_EQ(Inputs(memory, -1).step(16), 15);
}

}  // namespace
}  // namespace sluice::benching
