#include "core/backend.h"

#include <gtest/gtest.h>

#include "core/impl.h"

namespace sluice {
namespace {

Gpu gpu(int major, int minor, int cuda) { return {.name = "Test GPU", .major = major, .minor = minor, .cuda_version = cuda}; }

// What the value of --linear-attn-backend becomes on each device: a form's name, or words of the error.
struct Row {
  int major, minor, cuda;
  const char *automatic, *alias, *sm90, *sm100;
};

constexpr int kUnknown = 0;
constexpr const char *kNo90 = "compute capability 9.0,", *kNo100 = "compute capability 10.0 or 10.3,",
                     *kOld = "this build has CUDA 12.8", *kNoVersion = "this build has CUDA unknown";
constexpr Row kRows[] = {
    {8, 0, 12080, "portable", "portable", kNo90, kNo100},
    {8, 0, 13000, "portable", "portable", kNo90, kNo100},
    {8, 0, kUnknown, "portable", "portable", kNo90, kNo100},
    {8, 6, 12080, "portable", "portable", kNo90, kNo100},
    {8, 6, 13000, "portable", "portable", kNo90, kNo100},
    {8, 9, 13000, "portable", "portable", kNo90, kNo100},
    {8, 9, kUnknown, "portable", "portable", kNo90, kNo100},
    {9, 0, 12080, "sm90", "sm90", "sm90", kNo100},
    {9, 0, 13000, "sm90", "sm90", "sm90", kNo100},
    {9, 0, kUnknown, "sm90", "sm90", "sm90", kNo100},
    {10, 0, 12080, "portable", kOld, kNo90, kOld},
    {10, 0, 13000, "sm100", "sm100", kNo90, "sm100"},
    {10, 0, kUnknown, "portable", kNoVersion, kNo90, kNoVersion},
    {10, 3, 12080, "portable", kOld, kNo90, kOld},
    {10, 3, 13000, "sm100", "sm100", kNo90, "sm100"},
    {10, 3, kUnknown, "portable", kNoVersion, kNo90, kNoVersion},
    {11, 0, 13000, "portable", "portable", kNo90, kNo100},
    {12, 0, 12080, "portable", "portable", kNo90, kNo100},
    {12, 0, 13000, "portable", "portable", kNo90, kNo100},
    {12, 0, kUnknown, "portable", "portable", kNo90, kNo100},
};

bool is_form(const std::string& s) { return s == "portable" || s.starts_with("sm"); }

void expect_resolves(const std::string& value, const Gpu& device, const std::string& want) {
  SCOPED_TRACE(value + " on " + std::to_string(device.major) + "." + std::to_string(device.minor) + ", CUDA " +
               cuda_version_text(device.cuda_version));
  const auto plan = choose_backends({.both = value}, &device);
  if (is_form(want)) {
    ASSERT_TRUE(plan.ok()) << plan.status().to_string();
    EXPECT_EQ(plan->prefill, want);
    EXPECT_EQ(plan->decode, want);
    return;
  }
  ASSERT_FALSE(plan.ok());
  const std::string text = plan.status().to_string();
  EXPECT_EQ(plan.status().code(), Code::kUnsupported);
  EXPECT_NE(text.find(want), std::string::npos) << text;
  EXPECT_TRUE(text.starts_with("--linear-attn-backend " + value)) << text;
  EXPECT_EQ(text.find('\n'), std::string::npos) << text;
  // The value that the hint offers works.
  const auto other = choose_backends({.both = plan.status().hint().substr(4)}, &device);
  EXPECT_TRUE(other.ok()) << text;
}

TEST(Backend, TableOfDevices) {
  for (const Row& r : kRows) {
    const Gpu device = gpu(r.major, r.minor, r.cuda);
    expect_resolves("auto", device, r.automatic);
    expect_resolves("portable", device, "portable");
    expect_resolves("triton", device, "portable");
    expect_resolves("flashinfer", device, r.alias);
    expect_resolves("cutedsl", device, r.alias);
    expect_resolves("sm90", device, r.sm90);
    expect_resolves("sm100", device, r.sm100);
  }
}

TEST(Backend, ANeedForCudaNamesFlagNeedAndWhatWasFound) {
  const Gpu device = gpu(10, 0, kUnknown);
  const auto plan = choose_backends({.prefill = "flashinfer"}, &device);
  EXPECT_EQ(plan.status().to_string(),
            "--linear-attn-prefill-backend flashinfer on a GPU of compute capability 10.0 needs a build with CUDA 13.0 or newer, "
            "and this "
            "build has CUDA unknown; use portable");
}

TEST(Backend, AnAliasWithoutATunedFormWarnsOnce) {
  const Gpu device = gpu(8, 6, 13000);
  const auto plan = choose_backends({.both = "cutedsl"}, &device);
  ASSERT_TRUE(plan.ok());
  ASSERT_EQ(plan->warnings.size(), 1u);
  EXPECT_EQ(plan->warnings[0],
            "--linear-attn-backend cutedsl is not supported on this GPU (requires compute capability 9.0, 10.0 or 10.3; found "
            "8.6). Falling "
            "back to portable");
  for (const char* quiet : {"auto", "portable", "triton"})
    EXPECT_TRUE(choose_backends({.both = quiet}, &device)->warnings.empty()) << quiet;
}

TEST(Backend, PrefillAndDecodeAreChosenApart) {
  const Gpu device = gpu(9, 0, 13000);
  const auto plan = choose_backends({.both = "sm90", .decode = "triton"}, &device);
  ASSERT_TRUE(plan.ok());
  EXPECT_EQ(plan->prefill, "sm90");
  EXPECT_EQ(plan->decode, "portable");
  EXPECT_EQ(plan->choices.at("gdn_prefill").impl, "sm90");
  for (const char* op : {"gdn_decode", "gdn_decode_classic", "gdn_step", "gdn_verify"}) {
    EXPECT_EQ(plan->choices.at(op).impl, "portable") << op;
    EXPECT_FALSE(plan->choices.at(op).strict) << op;
  }
  EXPECT_TRUE(choose_backends({}, &device)->choices.empty());
}

TEST(Backend, OnTheCpu) {
  EXPECT_EQ(choose_backends({}, nullptr)->prefill, "auto");
  const auto reference = choose_backends({.prefill = "reference"}, nullptr);
  ASSERT_TRUE(reference.ok());
  EXPECT_EQ(reference->choices.at("gdn_prefill").impl, "reference");
  EXPECT_EQ(reference->choices.size(), 1u);
  for (const char* native : {"portable", "sm90", "sm100"})
    EXPECT_EQ(choose_backends({.both = native}, nullptr).status().code(), Code::kUnsupported);
  const auto alias = choose_backends({.both = "triton"}, nullptr);
  ASSERT_TRUE(alias.ok());
  EXPECT_EQ(alias->warnings.size(), 1u);
  EXPECT_TRUE(alias->choices.empty());
  const Gpu device = gpu(9, 0, 13000);
  EXPECT_EQ(choose_backends({.both = "reference"}, &device).status().hint(), "use portable, or --device cpu");
}

TEST(Backend, NoFormRunsOnAnOldGpu) {
  const Gpu device = gpu(7, 5, 13000);
  for (const char* value : kBackends)
    EXPECT_EQ(choose_backends({.both = value}, &device).status().code(), Code::kUnsupported) << value;
  EXPECT_EQ(choose_backends({.both = "flashkda"}, &device).status().code(), Code::kInvalidArgument);
}

TEST(Backend, InvariantFormsAreThePortableOnes) {
  const Device cuda{DeviceKind::kCuda, 0};
  ImplChoices choices{
      {"rope", ImplChoice("portable")}, {"matmul", ImplChoice("portable_mma")}, {"gdn_prefill", ImplChoice("portable", false)}};
  ASSERT_TRUE(choose_invariant_forms(cuda, choices).ok());
  EXPECT_EQ(choices.at("gqa_decode").impl, "portable");
  EXPECT_FALSE(choices.at("gqa_decode").strict) << "a family";
  EXPECT_TRUE(choices.at("gdn_verify").strict);
  EXPECT_TRUE(choices.at("gdn_prefill").strict) << "portable_mma has other sums";
  EXPECT_EQ(choices.at("matmul").impl, "portable_mma") << "one of the family";
  ImplChoices none;
  ASSERT_TRUE(choose_invariant_forms({}, none).ok());
  EXPECT_TRUE(none.empty()) << "on the CPU all are";
}

TEST(Backend, AChoiceOfAFormThatIsNotInvariantIsRefused) {
  for (const auto& [op, form] : {std::pair("matmul", "cublaslt"), {"gqa_prefill", "sm90"}, {"gdn_prefill", "portable_mma"}}) {
    ImplChoices choices{{op, ImplChoice(form)}};
    const Status refused = choose_invariant_forms({DeviceKind::kCuda, 0}, choices);
    EXPECT_EQ(refused.code(), Code::kUnsupported);
    EXPECT_EQ(refused.to_string(), std::string("--batch-invariant wants ") + op + " as 'portable', and '" + form +
                                       "' was chosen; leave one of the two out");
  }
}

// An operator of one number: the tuned form serves up to 128, the portable one all.
struct WidthArgs {
  int width = 0;
};
Status did_run(Context&, const WidthArgs&, std::byte*) { return {}; }
constexpr Impl<WidthArgs> kWidthForms[] = {
    {.name = "sm90",
     .isa = Isa::kSm90a,
     .can = [](const WidthArgs& a) { return a.width <= 128 ? Can{} : Can::no("the width must be 128 at most"); },
     .run = did_run},
    {.name = "portable_wide",
     .isa = Isa::kCuda,
     .can = [](const WidthArgs& a) { return a.width <= 256 ? Can{} : Can::no("the width must be 256 at most"); },
     .run = did_run},
    {.name = "portable", .isa = Isa::kCuda, .run = did_run},
};

TEST(Backend, ACallTheChosenFormCannotServeGoesDownTheListAndIsCounted) {
  const Gpu device = gpu(9, 0, 13000);
  const CpuFeatures cpu;
  std::vector<Fallback> fallbacks;
  ImplChoices choices{{"op", ImplChoice("sm90", false)}};
  const Context ctx{.cpu = &cpu, .gpu = &device, .forced = &choices, .fallbacks = &fallbacks};
  const auto chosen = [&](int width) {
    return choose_impl("op", std::span<const Impl<WidthArgs>>(kWidthForms), ctx, WidthArgs{width});
  };
  EXPECT_STREQ((*chosen(128))->name, "sm90");
  EXPECT_TRUE(fallbacks.empty());
  for (int i = 0; i < 3; ++i) EXPECT_STREQ((*chosen(256))->name, "portable_wide");
  ASSERT_EQ(fallbacks.size(), 1u);
  EXPECT_EQ(fallbacks[0].calls, 3);
  EXPECT_STREQ(fallbacks[0].reason, "the width must be 128 at most");
  choices["op"] = ImplChoice("sm100", false);
  EXPECT_STREQ((*chosen(1))->name, "sm90");
  EXPECT_STREQ(fallbacks.back().reason, "it has no form of that name");
  choices["op"] = std::string("sm90");
  EXPECT_EQ(chosen(256).status().message(), "op: implementation 'sm90' was asked for, but the width must be 128 at most");
  choices["op"] = std::string("portable");
  EXPECT_STREQ((*chosen(1))->name, "portable");
  choices["op"] = ImplChoice("portable", false);  // the family
  EXPECT_STREQ((*chosen(1))->name, "portable_wide");
  EXPECT_STREQ((*chosen(300))->name, "portable");
}

}  // namespace
}  // namespace sluice
