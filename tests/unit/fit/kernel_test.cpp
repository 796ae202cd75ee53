#include "fit/kernel.hpp"

#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <stdexcept>

#include "regfeatd/fit/fitter.hpp"

namespace regfeatd::fit {
namespace {

TEST(Kernel, IsFoundByName) {
  ASSERT_NE(find_kernel("baseline"), nullptr);
  EXPECT_STREQ(find_kernel("baseline")->name, "baseline");
  for (const char* unknown : {"", "sse2", "AVX2", "avx"}) EXPECT_EQ(find_kernel(unknown), nullptr) << unknown;
}

/// What a process started with this REGFEATD_KERNEL says: the kernel's name, or the error. Never returns.
[[noreturn]] void report_kernel(const char* forced) {
  ::setenv("REGFEATD_KERNEL", forced, 1);
  try {
    const auto name = kernel_name();
    std::fprintf(stderr, "%.*s\n", static_cast<int>(name.size()), name.data());
    std::_Exit(0);
  } catch (const std::invalid_argument& e) {
    std::fprintf(stderr, "%s\n", e.what());
    std::_Exit(1);
  }
}

// The choice is made once in a process, so each of these takes a process of its own.
TEST(KernelDeathTest, IsForcedByTheEnvironment) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(report_kernel("baseline"), testing::ExitedWithCode(0), "^baseline");
  EXPECT_EXIT(report_kernel("sse9"), testing::ExitedWithCode(1), "REGFEATD_KERNEL=sse9: no such instruction set");
}

}  // namespace
}  // namespace regfeatd::fit
